"""The PostgreSQL store: one database for several collectors.

Must not know who sent a batch, nor the pages that read it.
"""
