"""The HTTP endpoints that senders use: batches, bulk, the browser script, deletion requests.

Must not know how a batch is stored, nor who is who.
"""
