"""Handing batches in: to the endpoint over HTTP, or to a broker.

Must not know an outbox, or what becomes of a batch that is refused.
"""
