"""A kept connection of urllib3's, made as `requests` makes it and then used without its ceremony.

What `requests` would do anew for each request (cookies, hooks, history, one URL parsed many times) is two thirds of
a POST's cost, so its pool is asked directly. Must not know batches, nor what an answer means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from requests.adapters import HTTPAdapter
from urllib3 import exceptions as known

from koala_middleware.delivery.answers import CUT, SILENT
from koala_middleware.delivery.connection import (
    LATE,
    REFUSED,
    UNKNOWN_HOST,
    UNREACHABLE,
    UNREADABLE,
    UNTRUSTED,
    Reply,
)
from koala_middleware.delivery.environment import environment

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool

# The first that fits: some of these are kinds of others.
_WORDS: dict[type[Exception], str] = {
    known.ConnectTimeoutError: LATE,
    known.TimeoutError: SILENT,
    known.SSLError: UNTRUSTED,
    known.DecodeError: UNREADABLE,
    known.ProtocolError: CUT,
    known.ProxyError: UNREACHABLE,  # it made no tunnel: nothing went further
    OSError: CUT,
}


class PooledConnection(HTTPAdapter):
    """To one endpoint, for one thread at a time: a pool of one."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        request, proxies, authorities = environment(endpoint)
        verify = authorities or True
        pool = self.get_connection_with_tls_context(request, verify, proxies)
        self.cert_verify(pool, endpoint, verify, None)  # type: ignore[no-untyped-call]  # has no stub
        self._pool = cast("HTTPConnectionPool", pool)
        # Through a proxy that makes no tunnel the whole URL is asked for, else the path alone.
        self._before_path = self.request_url(request, proxies).rstrip("/")
        self._open = False
        self.reused = False

    def ask(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout: float,
        *,
        body: bytes | None = None,
        most: int,
    ) -> Reply | str:
        """Waits `timeout` seconds at most to connect, and again whenever the answer does not go on."""
        self.reused, self._open = self._open, False
        try:
            reply = self._asked(path, headers, timeout, body, most)
        except (known.HTTPError, OSError) as error:
            return _in_words(error)
        self._open = True
        return reply

    def _asked(
        self, path: str, headers: Mapping[str, str], timeout: float, body: bytes | None, most: int
    ) -> Reply:
        response = self._pool.urlopen(
            "GET" if body is None else "POST",
            self._before_path + path,
            body,
            headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=timeout,
            preload_content=False,
        )
        try:
            # Read without a limit costs 80 µs less, so it is set only where an answer may need one.
            short = response.length_remaining is not None and response.length_remaining <= most
            content = response.read(None if short else most, decode_content=True)
        finally:
            response.close()  # after the last byte the connection is in the pool already, and stays there
        return Reply(response.status, response.headers.get("Retry-After"), content)


def _in_words(error: Exception) -> str:
    text = repr(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return UNKNOWN_HOST
    if "NewConnection" in text:
        return REFUSED if "refused" in text else UNREACHABLE
    return next((words for kind, words in _WORDS.items() if isinstance(error, kind)), type(error).__name__)
