"""Takes batches out of a broker and delivers them.

Used by the relay command and by Celery workers; an app does not load it.
"""
