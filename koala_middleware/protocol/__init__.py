"""What goes over the wire: subjects, entries, batches, request bodies, paths and limits, for both sides.

Must not know where an entry came from or how it travels.
"""
