"""What the HTTP transport asks of a connection, the words for why nothing was answered, and which kinds there are.

Must not know batches, nor what an answer means. Loads an HTTP client only where one is about to be used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from koala_middleware.log_once import LogOnce

# Every kind of connection says these, beside CUT and SILENT, for the same failures.
UNKNOWN_HOST = "host name not found"
REFUSED = "connection refused"
UNREACHABLE = "no connection"
LATE = "no connection in time"
UNTRUSTED = "TLS failure"
UNREADABLE = "unreadable answer"

_notices = LogOnce()


class Reply(NamedTuple):
    """What came back, as far as anybody looks at it."""

    status: int
    retry_after: str | None
    content: bytes


class Connection(Protocol):
    """To one endpoint, for one thread at a time.

    Attributes:
        reused: The latest request went over what an earlier one had opened. If it was cut off, that says nothing
            of the endpoint, which may close an idle connection at any moment.
    """

    reused: bool

    def ask(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout: float,
        *,
        body: bytes | None = None,
        most: int,
    ) -> Reply | str:
        """The answer to one POST, or to a GET where there is no body; or why there is none, in a few words: a
        failure's own text would hold addresses.

        Args:
            most: So many bytes of the answer are read.
        """
        ...

    def close(self) -> None: ...


def connector(transport: str) -> Callable[[str], Connection]:
    """What opens connections to an endpoint, of the kind that the setting names. Loads its client: 100 ms."""
    if transport == "curl" and not _would_stop_greenlets():
        from koala_middleware.delivery.transports.curl_connection import CurlConnection  # noqa: PLC0415  (loaded where it is used)

        return CurlConnection
    from koala_middleware.delivery.transports.requests_connection import PooledConnection  # noqa: PLC0415  (as above)

    return PooledConnection


def prepare(transport: str) -> None:
    """Loads the HTTP client while the app starts, so that no request has to share the time it takes.

    Not where gevent is about to patch sockets: what is loaded before that stays unpatched.
    """
    if "gevent" not in sys.modules or _sockets_are_gevents():
        connector(transport)


def _would_stop_greenlets() -> bool:
    """libcurl waits in C: under gevent all of the process would stand still until the endpoint answers."""
    if not _sockets_are_gevents():
        return False
    _notices.warning('transport="curl" would stop all of a gevent worker; "http" is used instead')
    return True


def _sockets_are_gevents() -> bool:
    if "gevent" not in sys.modules:
        return False
    from gevent import monkey  # noqa: PLC0415  (loaded already)

    return bool(monkey.is_module_patched("socket"))
