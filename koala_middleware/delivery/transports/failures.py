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

BAD_PROXY = "the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is not a URL with a host"
SOCKS_PROXY = (
    "the proxy in the environment is a SOCKS proxy, which needs PySocks: pip install 'requests[socks]'"
)
NO_CA_BUNDLE = "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names a file that does not exist"

# After these the endpoint or broker may have taken the batch.
REQUEST_WAS_SENT = frozenset({CONNECTION_LOST, NO_ANSWER})


class CannotConnectError(Exception):
    """No connection can be made with these settings. The message is one of the words above."""


def tunnel_refused(status: int) -> str:
    """The proxy answered a CONNECT with this HTTP status."""
    return f"the proxy opens no connection to the endpoint (HTTP {status})"


def unexpected(name: str) -> str:
    """A failure that none of the words above fits, by the name that the library gives it."""
    return f"unexpected error in the HTTP client ({name})"
