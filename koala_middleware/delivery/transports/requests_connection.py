"""A kept connection: opened as `requests` opens it, then used without the ceremony of each request.

What `requests` would do anew for each (cookies, hooks, history, one URL parsed many times) is two thirds of a POST's
cost, and what urllib3 does (retries and timeouts copied, a response around the response) nearly half of the rest. So
its pool is asked for the first one, and http.client goes on over what that has opened. Must not know batches, nor what
an answer means.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from http import HTTPStatus
from queue import Empty
from typing import TYPE_CHECKING, cast

import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as known
from urllib3.util import is_connection_dropped

from koala_middleware.delivery.transports import failures
from koala_middleware.delivery.transports.connection import Response
from koala_middleware.delivery.transports.environment import read_environment

if TYPE_CHECKING:
    from queue import LifoQueue

    from urllib3 import BaseHTTPResponse, HTTPConnectionPool
    from urllib3.connection import HTTPConnection

    _What = tuple[str, str, bytes | None, Mapping[str, str]]  # method, URL, body, headers
    _Answered = tuple[http.client.HTTPResponse | BaseHTTPResponse, bytes]  # head, content

# The first that fits: some of these are kinds of others.
_WORDS: dict[type[Exception], str] = {
    known.ConnectTimeoutError: failures.CONNECT_TIMEOUT,
    known.TimeoutError: failures.NO_ANSWER,
    known.SSLError: failures.TLS_FAILURE,
    known.DecodeError: failures.UNREADABLE_ANSWER,
    known.ProtocolError: failures.CONNECTION_LOST,
    known.ProxyError: failures.NO_CONNECTION,  # it made no tunnel: nothing went further
    TimeoutError: failures.NO_ANSWER,
    http.client.HTTPException: failures.CONNECTION_LOST,
    OSError: failures.CONNECTION_LOST,
}


class RequestsConnection(HTTPAdapter):
    """To one endpoint, for one thread at a time: a pool of one."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        request, proxies, ca_bundle = read_environment(endpoint)
        verify = ca_bundle or True
        pool = self.get_connection_with_tls_context(request, verify, proxies)
        self.cert_verify(pool, endpoint, verify, None)  # type: ignore[no-untyped-call]  # has no stub
        self._pool = cast("HTTPConnectionPool", pool)
        self._pool.ConnectionCls = type(
            "KeptConnection", (self._pool.ConnectionCls,), {"response_class": _Final}
        )
        # Through a proxy that makes no tunnel the whole URL is asked for, else the path alone.
        self._before_path = self.request_url(request, proxies).rstrip("/")
        self._for_proxy = self._pool.proxy_headers if self._before_path else {}
        self._kept: HTTPConnection | None = None
        self.reused = False

    def request(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout: float,
        *,
        body: bytes | None = None,
        max_bytes: int,
    ) -> Response | str:
        """Waits `timeout` seconds at most to connect, and again whenever the answer does not go on."""
        kept = self._still_open()
        self.reused = kept is not None
        method, url = "GET" if body is None else "POST", self._before_path + path
        what = (method, url, body, {**headers, **self._for_proxy})
        try:
            if kept is None:
                response, content = self._first(what, timeout, max_bytes)
            else:
                response, content = _again(kept, what, timeout, max_bytes)
        except (known.HTTPError, http.client.HTTPException, OSError) as error:
            return _in_words(error)
        self._kept = kept or self._opened()
        return Response(response.status, response.headers.get("Retry-After"), content)

    def close(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
        super().close()

    def _still_open(self) -> HTTPConnection | None:
        kept, self._kept = self._kept, None
        # The endpoint may have ended it meanwhile, some with a 408 that would be read as our answer.
        if kept is not None and is_connection_dropped(kept):
            kept.close()
            return None
        return kept

    def _first(self, what: _What, timeout: float, max_bytes: int) -> _Answered:
        """Over a connection that is opened for it."""
        response = self._pool.urlopen(
            *what,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=timeout,
            preload_content=False,
        )
        try:
            return response, _read(response, response.length_remaining, max_bytes)
        finally:
            response.close()  # after the last byte the connection is in the pool already, and stays open

    def _opened(self) -> HTTPConnection | None:
        """Taken out of the pool: when a process ends, urllib3 closes what is in one before we have sent the rest."""
        try:
            return cast("LifoQueue[HTTPConnection | None]", self._pool.pool).get_nowait()
        except Empty:  # what was not read to its end is closed, and does not come back
            return None


class _Final(http.client.HTTPResponse):
    """Not what an endpoint says before its answer, such as 103: http.client skips 100 alone, and what followed would
    be the next request's answer."""

    def begin(self) -> None:
        super().begin()
        while HTTPStatus.SWITCHING_PROTOCOLS < self.status < HTTPStatus.OK:
            self.headers = None  # type: ignore[assignment]  # as it was before the first
            super().begin()


def _again(kept: HTTPConnection, what: _What, timeout: float, max_bytes: int) -> _Answered:
    """Over one that is open, by the methods that urllib3's class of connections has overridden."""
    whole = False
    try:
        kept.sock.settimeout(timeout)
        http.client.HTTPConnection.request(kept, *what)
        response = http.client.HTTPConnection.getresponse(kept)
        if "Content-Encoding" in response.headers:  # we ask for none; some answer in one
            content = _decoding(response).read(max_bytes)
        else:
            content = _read(response, response.length, max_bytes)
        whole = response.isclosed()
    finally:
        if not whole:
            kept.close()
    return response, content


def _read(answer: http.client.HTTPResponse | BaseHTTPResponse, length: int | None, max_bytes: int) -> bytes:
    # A limit is set only where an answer may need one: without it reading costs urllib3 80 µs less, and http.client
    # notices half an answer.
    return answer.read() if length is not None and length <= max_bytes else answer.read(max_bytes)


def _decoding(response: http.client.HTTPResponse) -> BaseHTTPResponse:
    return urllib3.HTTPResponse(response, dict(response.headers.items()), preload_content=False)


def _in_words(error: Exception) -> str:
    text = repr(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return failures.HOST_NOT_FOUND
    if "NewConnection" in text:
        return failures.CONNECTION_REFUSED if "refused" in text else failures.NO_CONNECTION
    return next((words for kind, words in _WORDS.items() if isinstance(error, kind)), type(error).__name__)
