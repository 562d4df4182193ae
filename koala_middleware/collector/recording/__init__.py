"""From a checked batch to stored entries: the one thread that writes, and what it makes of a group of batches.

Must not know HTTP or SQL.
"""
