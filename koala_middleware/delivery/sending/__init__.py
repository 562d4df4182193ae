"""From the outbox to a transport, and from its answer back: threads, circuit breaker, outcomes.

Must not know HTTP or a broker.
"""
