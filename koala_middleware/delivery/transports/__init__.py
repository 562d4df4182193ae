"""Hands a batch to the endpoint over HTTP, or to a broker, and says what came back.

Must not know the outbox, or what is done with an answer.
"""
