"""Why a request got no answer: the words for the log, the same for every transport.

A library's own error message may hold addresses or data, so it is never used. Must not know what is done about a
failure.
"""

from __future__ import annotations

HOST_NOT_FOUND = "host name not found"
CONNECTION_REFUSED = "connection refused"
NO_CONNECTION = "no connection"
CONNECT_TIMEOUT = "no connection in time"
TLS_FAILURE = "TLS failure"
CONNECTION_LOST = "connection lost"
NO_ANSWER = "no answer in time"
UNREADABLE_ANSWER = "unreadable answer"

# After these the endpoint or broker may have taken the batch.
REQUEST_WAS_SENT = frozenset({CONNECTION_LOST, NO_ANSWER})
