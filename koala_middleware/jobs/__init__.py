"""Background jobs: what a job records belongs to the visitor who caused it.

One module for each queue, imported by the site that uses it. The other modules must not import a queue.
"""
