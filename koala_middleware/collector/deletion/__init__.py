"""Deleting people on request, and entries that are older than they may be kept.

Must not know SQL or HTTP.
"""
