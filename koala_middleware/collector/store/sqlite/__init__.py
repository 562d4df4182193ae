"""The SQLite store: one file, for one collector process.

Must not know who sent a batch, nor the pages that read it.
"""
