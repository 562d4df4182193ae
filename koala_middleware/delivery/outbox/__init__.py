"""Where entries wait: in memory, or in the files of a durable outbox.

Must not know how entries are sent.
"""
