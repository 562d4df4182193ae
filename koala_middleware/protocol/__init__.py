"""What goes over the wire: subjects, entries, batches, request bodies and the limits of both sides.

Must not know where an entry came from or how it travels.
"""
