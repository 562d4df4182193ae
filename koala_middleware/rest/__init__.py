"""Calls to the endpoint that wait for an answer: qualify and erasure.

Must not be used while a request is handled.
"""
