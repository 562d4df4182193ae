"""Who is sent next: lanes of waiting entries, when each is due, backoff.

Must not know files, threads of senders, or HTTP.
"""
