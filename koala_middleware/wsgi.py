"""WSGI: Flask, Bottle, Pyramid, Falcon and every other WSGI app.

Translates between WSGI's calls and the exchange, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper

from koala_middleware.calls.context import KoalaContext, current, entered
from koala_middleware.client import KoalaClient, client_for
from koala_middleware.exchange import Exchange
from koala_middleware.identity.consent import require_sync
from koala_middleware.identity.cookie import ProfileCookie
from koala_middleware.request.head import WsgiHead, wsgi_cookies

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_SERVER_ERROR = 500
_SIZED = (list, tuple)


class KoalaMiddleware:
    """`app = KoalaMiddleware(app, public_api_key="pk_…")`; handlers find the context in `environ["koala"]`.

    Args:
        client: A client to share, alone; else one is made from the keywords and the environment.
    Raises:
        KoalaConfigError: a setting is missing or malformed.
        TypeError: a keyword is no setting, or would have no effect beside `client`.
    """

    def __init__(self, app: WSGIApplication, client: KoalaClient | None = None, **settings: Any) -> None:
        self.app = app
        self.client = client_for(client, settings)
        require_sync(self.client.config)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Applied twice is applied once: the outer one has the exchange.
        if "koala" in environ:
            return self.app(environ, start_response)
        exchange = Exchange(self.client, wsgi_cookies(environ), WsgiHead, environ)
        if self.client.asks_consent:
            exchange.ask_consent()
        context = exchange.context
        environ["koala"] = context
        token = current.set(context)
        try:
            body = self.app(environ, _StartResponse(exchange, start_response))
        except BaseException:
            exchange.status = exchange.status or _SERVER_ERROR
            exchange.end()
            raise
        finally:
            current.reset(token)
        return _after_response(exchange, body, environ)


def _after_response(exchange: Exchange, body: Iterable[bytes], environ: WSGIEnvironment) -> Iterable[bytes]:
    """The body to give the server, so that the exchange ends when the last byte is out."""
    if isinstance(body, _SIZED):
        if exchange.context.calls:
            exchange.store()
        if not exchange.context.calls:
            exchange.end()  # none of the app's code is left to run: there is nothing to wait for
            return body
        return _SizedBody(exchange, body)
    if not _is_servers_file(body, environ.get("wsgi.file_wrapper")):
        return _Body(exchange, body)
    if exchange.waits:
        # In blocks: a file of uWSGI's own would iterate line by line.
        return _Body(exchange, FileWrapper(body) if hasattr(body, "read") else body)  # type: ignore[arg-type]  # can be read
    # The server sends a file of its own make by sendfile, but only the very object it made.
    exchange.end()
    return body


def _is_servers_file(body: object, file_wrapper: Any) -> bool:
    """Whether the body is what the server's `wsgi.file_wrapper` makes of a file."""
    if isinstance(file_wrapper, type):
        return isinstance(body, file_wrapper)
    # uWSGI's is a function that gives the file itself, which iterates line by line where it is not sent as such.
    return file_wrapper is not None and hasattr(body, "read")


class _Body:
    """A response's body: the app's, with the context set while the app makes it, and an end we notice."""

    __slots__ = ("_body", "_chunks", "_exchange")

    def __init__(self, exchange: Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._exchange.chunk_sent()  # the server asks for the next one when the last one is out
        try:
            with entered(self._exchange.context):
                if self._chunks is None:
                    self._chunks = iter(self._body)
                return next(self._chunks)
        finally:
            if self._exchange.context.calls:
                self._exchange.store()

    def close(self) -> None:
        try:
            if (close := getattr(self._body, "close", None)) is not None:
                with entered(self._exchange.context):
                    close()
        finally:
            self._exchange.end()

    def __del__(self) -> None:
        # Werkzeug's server closes no body whose client resets the connection at the wrong moment.
        self._exchange.end()


class _SizedBody:
    """A body that is there already: none of the app's code runs while it goes out, and servers make a
    Content-Length of it."""

    __slots__ = ("_body", "_exchange")

    def __init__(self, exchange: Exchange, body: Sequence[bytes]) -> None:
        self._exchange = exchange
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def __len__(self) -> int:
        return len(self._body)

    def close(self) -> None:
        self._exchange.end()

    def __del__(self) -> None:
        self._exchange.end()  # as above


class _StartResponse:
    """The `start_response` the app is given: amends the head before the server gets it."""

    __slots__ = ("_exchange", "_start_response")

    def __init__(self, exchange: Exchange, start_response: StartResponse) -> None:
        self._exchange = exchange
        self._start_response = start_response

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        exchange = self._exchange
        exchange.status = _status_number(status)
        if exchange.amends():
            headers = list(headers)  # an app may keep one list for all its responses
            exchange.amend(WsgiResponse(headers))
        if exc_info is None:
            return self._start_response(status, headers)
        return self._start_response(status, headers, exc_info)


@lru_cache(maxsize=128)
def _status_number(status: str) -> int:
    # Remembered, since an app says the same few: worth 0.2 µs, a twentieth of an exchange.
    return int(status[:3]) if status[:3].isdecimal() else 0


class WsgiResponse:
    """A response's head as WSGI's list of header pairs, which it changes in place."""

    __slots__ = ("_headers",)

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self._headers = headers

    def values(self, name: str) -> list[str]:
        return [value for key, value in self._headers if key.lower() == name]

    def sets_cookie(self, name: str) -> bool:
        return any(value.startswith(f"{name}=") for value in self.values("set-cookie"))

    def set_cookie(self, cookie: ProfileCookie) -> None:
        self._headers.append(("Set-Cookie", cookie.header()))

    def set_header(self, name: str, value: str) -> None:
        self._headers[:] = [pair for pair in self._headers if pair[0].lower() != name.lower()]
        self._headers.append((name, value))


def context_of(environ: WSGIEnvironment) -> KoalaContext | None:
    """The context this request's middleware attached, or None where none has seen it."""
    context = environ.get("koala")
    return context if isinstance(context, KoalaContext) else None
