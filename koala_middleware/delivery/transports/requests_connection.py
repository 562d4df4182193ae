"""A kept connection: opened as `requests` opens it, then used without the work that `requests` does for each request.

Cookies, hooks, history, and parsing one URL many times are two thirds of the cost of a POST by `requests`; what urllib3
does (copying retries and timeouts, a response around the response) is nearly half of the rest. So urllib3's pool makes
the first request, and http.client the next ones over the connection that the first has opened. Must not know batches,
or what an answer means.
"""

from __future__ import annotations

import http.client
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from importlib.util import find_spec
from queue import Empty
from typing import TYPE_CHECKING, cast

import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as known
from urllib3.util import is_connection_dropped

from koala_middleware.delivery.transports import failures
from koala_middleware.delivery.transports.connection import Response, time_to_travel
from koala_middleware.delivery.transports.deadline import Deadline, NotConnectedError, timed_connection_class
from koala_middleware.delivery.transports.environment import read_environment

if TYPE_CHECKING:
    from queue import LifoQueue

    from urllib3 import BaseHTTPResponse, HTTPConnectionPool
    from urllib3.connection import HTTPConnection

    _Request = tuple[str, str, bytes | None, Mapping[str, str]]  # method, URL, body, headers
    _HeadAndContent = tuple[http.client.HTTPResponse | BaseHTTPResponse, bytes]

# The first that fits: some of these are subclasses of others.
_FAILURES: dict[type[Exception], str] = {
    known.NameResolutionError: failures.HOST_NOT_FOUND,
    known.NewConnectionError: failures.NO_CONNECTION,
    known.ConnectTimeoutError: failures.CONNECT_TIMEOUT,
    known.TimeoutError: failures.NO_ANSWER,
    known.SSLError: failures.TLS_FAILURE,
    known.DecodeError: failures.UNREADABLE_ANSWER,
    known.ProtocolError: failures.CONNECTION_LOST,
    known.ProxyError: failures.NO_CONNECTION,
    TimeoutError: failures.NO_ANSWER,
    http.client.HTTPException: failures.CONNECTION_LOST,
    OSError: failures.CONNECTION_LOST,
}


class RequestsConnection(HTTPAdapter):
    """A connection to one endpoint, for one thread at a time: a pool of one."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        request, proxies, proxy, ca_bundle = read_environment(endpoint)
        socks = proxy is not None and proxy.lower().startswith("socks")
        if socks and find_spec("socks") is None:
            raise failures.CannotConnectError(failures.SOCKS_PROXY)
        verify = ca_bundle or True
        pool = self.get_connection_with_tls_context(request, verify, proxies)
        self.cert_verify(pool, endpoint, verify, None)  # type: ignore[no-untyped-call]  # has no stub
        self._pool = cast("HTTPConnectionPool", pool)
        self._deadline = self._pool.conn_kw["deadline"] = Deadline()
        self._pool.ConnectionCls = timed_connection_class(self._pool.ConnectionCls, socks=socks)
        # A proxy without a tunnel is asked for the whole URL, everybody else for the path alone.
        self._before_path = self.request_url(request, proxies).rstrip("/")
        self._proxy_headers = self._pool.proxy_headers if self._before_path else {}
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
        kept = self._still_open()
        self.reused = kept is not None
        seconds = timeout + time_to_travel(body)
        self._deadline.start(seconds)
        method, url = "GET" if body is None else "POST", self._before_path + path
        request = (method, url, body, {**headers, **self._proxy_headers})
        try:
            if kept is None:
                response, content = self._first(request, seconds, max_bytes)
            else:
                response, content = _next(kept, request, max_bytes)
        except (known.HTTPError, http.client.HTTPException, OSError) as error:
            failure = _failure(error)
            _break_circles(error)
            return failure
        self._kept = kept or self._opened()
        return Response(response.status, response.headers.get("Retry-After"), content)

    def close(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
        super().close()

    def _still_open(self) -> HTTPConnection | None:
        kept, self._kept = self._kept, None
        # The endpoint may have closed it meanwhile, perhaps with a 408 that would be read as the next answer.
        if kept is not None and is_connection_dropped(kept):
            kept.close()
            return None
        return kept

    def _first(self, request: _Request, timeout: float, max_bytes: int) -> _HeadAndContent:
        """Opens a connection and sends the request over it."""
        response = self._pool.urlopen(
            *request,
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
        """Takes the connection out of the pool: at the end of a process urllib3 closes what is in one too early."""
        try:
            return cast("LifoQueue[HTTPConnection | None]", self._pool.pool).get_nowait()
        except Empty:  # a response that was not read to its end closes its connection
            return None


def _next(kept: HTTPConnection, request: _Request, max_bytes: int) -> _HeadAndContent:
    """Sends the request over an open connection, by the methods that urllib3's connection class has overridden."""
    complete = False
    try:
        http.client.HTTPConnection.request(kept, *request)
        response = http.client.HTTPConnection.getresponse(kept)
        if "Content-Encoding" in response.headers:  # we ask for none; some answer in one
            content = _decoding(response).read(max_bytes)
        else:
            content = _read(response, response.length, max_bytes)
        complete = response.isclosed()
    finally:
        if not complete:
            kept.close()
    return response, content


def _read(answer: http.client.HTTPResponse | BaseHTTPResponse, length: int | None, max_bytes: int) -> bytes:
    # Only an answer that may be too long is read with a limit: without one urllib3 needs 80 µs less, and http.client
    # notices half an answer.
    return answer.read() if length is not None and length <= max_bytes else answer.read(max_bytes)


def _decoding(response: http.client.HTTPResponse) -> BaseHTTPResponse:
    return urllib3.HTTPResponse(response, dict(response.headers.items()), preload_content=False)


def _failure(error: BaseException) -> Response | str:
    cause = _cause(error)
    if isinstance(cause, NotConnectedError):
        if cause.tunnel_status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return Response(cause.tunnel_status, None, b"")
        return cause.failure
    words = (words for kind, words in _FAILURES.items() if isinstance(cause, kind))
    return next(words, failures.unexpected(type(cause).__name__))


def _cause(error: BaseException) -> BaseException:
    """The exception that urllib3 wraps."""
    if isinstance(error, known.ProxyError):
        return _cause(error.original_error)
    if isinstance(error, known.ProtocolError) and isinstance(error.args[-1], NotConnectedError):
        return error.args[-1]
    return error


def _break_circles(error: BaseException | None) -> None:
    """Empties the frames that the exception went through.

    A frame of urllib3 holds the exception, and the exception its frames. Until garbage collection the pool would live
    on; then its finalizer would run on any thread of the app, where a SystemExit raised within is ignored.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
