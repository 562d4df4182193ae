"""Jobs: what a background job records belongs to the visitor who caused it.

One module for each queue, imported by the site that uses it; nothing here imports a queue.
"""
