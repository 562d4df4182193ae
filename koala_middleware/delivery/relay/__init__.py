"""Taking batches out of a broker and delivering them.

Must not be loaded by an app; the relay command and workers use it.
"""
