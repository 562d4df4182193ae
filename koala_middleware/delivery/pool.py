"""A kept connection: made as `requests` makes it, then used without the ceremony of each request.

What `requests` would do anew for each (cookies, hooks, history, one URL parsed many times) is two thirds of a POST's
cost, and what urllib3 does (retries and timeouts copied, a response around the response) nearly half of the rest. So
its pool is asked for the first one, and http.client goes on over what that has opened. Must not know batches, nor what
an answer means.
"""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, cast

import urllib3
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
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

_What = tuple[str, str, bytes | None, Mapping[str, str]]  # method, URL, body, headers

# The first that fits: some of these are kinds of others.
_WORDS: dict[type[Exception], str] = {
    known.ConnectTimeoutError: LATE,
    known.TimeoutError: SILENT,
    known.SSLError: UNTRUSTED,
    known.DecodeError: UNREADABLE,
    known.ProtocolError: CUT,
    known.ProxyError: UNREACHABLE,  # it made no tunnel: nothing went further
    TimeoutError: SILENT,
    HTTPException: CUT,
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
        self._for_proxy = self._pool.proxy_headers if self._before_path else {}
        self._kept: HTTPConnection | None = None
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
        kept, self._kept = self._kept, None
        self.reused = kept is not None
        what = ("GET" if body is None else "POST", self._before_path + path, body, headers)
        try:
            return (
                self._first(what, timeout, most) if kept is None else self._again(kept, what, timeout, most)
            )
        except (known.HTTPError, HTTPException, OSError) as error:
            return _in_words(error)

    def _first(self, what: _What, timeout: float, most: int) -> Reply:
        """Over a connection that is opened for it."""
        response = self._pool.urlopen(
            *what,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=timeout,
            preload_content=False,
        )
        opened = cast("HTTPConnection", response.connection)
        try:
            content = _read(response, response.length_remaining, most)
        finally:
            response.close()  # after the last byte the connection is in the pool already, and stays open
        self._kept = opened if opened.sock else None
        return Reply(response.status, response.headers.get("Retry-After"), content)

    def _again(self, kept: HTTPConnection, what: _What, timeout: float, most: int) -> Reply:
        """Over one that is open, by the methods that urllib3's class of connections has overridden."""
        method, url, body, headers = what
        whole = False
        try:
            kept.sock.settimeout(timeout)
            HTTPConnection.request(kept, method, url, body, {**headers, **self._for_proxy})
            response = HTTPConnection.getresponse(kept)
            content = _read(*_decoded(response), most)
            whole = response.isclosed()
        finally:
            if not whole:
                kept.close()
        self._kept = kept if kept.sock else None
        return Reply(response.status, response.headers.get("Retry-After"), content)


def _read(answer: HTTPResponse | BaseHTTPResponse, length: int | None, most: int) -> bytes:
    # Read without a limit costs 80 µs less, so it is set only where an answer may need one.
    return answer.read() if length is not None and length <= most else answer.read(most)


def _decoded(response: HTTPResponse) -> tuple[HTTPResponse | BaseHTTPResponse, int | None]:
    """What to read, and how long that is, where that is known. We ask for no encoding; some answer in one."""
    headers = response.headers
    if "Content-Encoding" not in headers:
        return response, response.length
    return urllib3.HTTPResponse(response, dict(headers.items()), preload_content=False), None


def _in_words(error: Exception) -> str:
    text = repr(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return UNKNOWN_HOST
    if "NewConnection" in text:
        return REFUSED if "refused" in text else UNREACHABLE
    return next((words for kind, words in _WORDS.items() if isinstance(error, kind)), type(error).__name__)
