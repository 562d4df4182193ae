"""WSGI: Flask, Bottle, Pyramid, Falcon and every other WSGI app.

Handlers find the context in `environ["koala"]` and `environ["koala.context"]`. Translates between WSGI's calls and the
exchange, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper

from koala_middleware.calls.context import KoalaContext
from koala_middleware.calls.current import as_current, current
from koala_middleware.client import KoalaClient, client_for
from koala_middleware.exchange import Exchange, join, outer_context
from koala_middleware.identity.consent import require_sync
from koala_middleware.identity.cookie import ProfileCookie
from koala_middleware.request.head import WsgiHead

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
        TypeError: a keyword is not a setting, or would have no effect beside `client`.
    """

    def __init__(self, app: WSGIApplication, client: KoalaClient | None = None, **settings: Any) -> None:
        self.app = app
        self.client = client_for(client, settings)
        require_sync(self.client.config)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        head = WsgiHead(environ)
        if "koala" in environ or current.get(None) is not None:
            outer = outer_context(environ.get("koala"), head)
            if outer is not None:
                join(self.client, outer, head)
                environ["koala"] = environ["koala.context"] = outer
                return self.app(environ, start_response)
        exchange = Exchange(self.client, head)
        if self.client._asks_consent:
            exchange.ask_consent()
        context = exchange.context
        environ["koala"] = environ["koala.context"] = context
        token = current.set(context)
        try:
            body = self.app(environ, _processing(exchange, start_response))
        except BaseException as error:
            # A websocket of flask-sock or Flask-SocketIO on gunicorn ends by StopIteration, which is no failure.
            if not isinstance(error, StopIteration):
                exchange.status = exchange.status or _SERVER_ERROR
            exchange.end()
            raise
        finally:
            current.reset(token)
        return _after_response(exchange, body, environ)


def _after_response(exchange: Exchange, body: Iterable[bytes], environ: WSGIEnvironment) -> Iterable[bytes]:
    """The body for the server, which ends the exchange when the last byte is out."""
    if isinstance(body, _SIZED):
        calls = exchange.context._calls
        if calls:
            exchange.persist()
        if not calls:
            exchange.end()  # none of the app's code is left to run
            return body
        return _SizedBody(exchange, body)
    if not _is_servers_file(body, environ.get("wsgi.file_wrapper")):
        return _Body(exchange, body)
    if exchange.end_blocks:
        # In blocks, since uWSGI's own file iterates line by line.
        return _Body(exchange, FileWrapper(body) if hasattr(body, "read") else body)  # type: ignore[arg-type]  # can be read
    # The server uses sendfile only for the very object that its file_wrapper made.
    exchange.end()
    return body


def _is_servers_file(body: object, file_wrapper: Any) -> bool:
    """Whether the server's `wsgi.file_wrapper` made the body."""
    if isinstance(file_wrapper, type):
        return isinstance(body, file_wrapper)
    # uWSGI's is a function that returns the file itself.
    return file_wrapper is not None and hasattr(body, "read")


class _Body:
    """The app's body: sets the context while the app makes each chunk, and ends the exchange."""

    __slots__ = ("_body", "_chunks", "_exchange")

    def __init__(self, exchange: Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._exchange.flush_if_due()  # the server asks for a chunk when the one before is out
        try:
            with as_current(self._exchange.context):
                if self._chunks is None:
                    self._chunks = iter(self._body)
                return next(self._chunks)
        finally:
            if self._exchange.context._calls:
                self._exchange.persist()

    def close(self) -> None:
        try:
            if (close := getattr(self._body, "close", None)) is not None:
                with as_current(self._exchange.context):
                    close()
        finally:
            self._exchange.end()

    def __del__(self) -> None:
        # Werkzeug's server may leave a body unclosed when the client resets the connection.
        self._exchange.end()


class _SizedBody:
    """A complete body: none of the app's code runs while it is sent. Its length gives the Content-Length."""

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


def _processing(exchange: Exchange, start_response: StartResponse) -> StartResponse:
    """The app's `start_response`: processes the head before the server gets it."""

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        exchange.status = _status_code(status)
        if exchange.processes_response():
            headers = list(headers)  # an app may use one list for all its responses
            exchange.process_response(WsgiResponse(headers))
        if exc_info is None:
            return start_response(status, headers)
        return start_response(status, headers, exc_info)

    return start


@lru_cache(maxsize=128)  # an app has few statuses
def _status_code(status: str) -> int:
    """`"404 Not Found"` gives 404; anything malformed gives 0."""
    try:
        return int(status[:3])
    except ValueError:
        return 0


class WsgiResponse:
    """A response's head as WSGI's list of header pairs. Changes it in place."""

    __slots__ = ("_headers",)

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self._headers = headers

    def fields(self) -> list[tuple[str, str]]:
        return [(name.lower(), value) for name, value in self._headers]

    def sets_cookie(self, name: str) -> bool:
        return any(key == "set-cookie" and value.startswith(f"{name}=") for key, value in self.fields())

    def set_cookie(self, cookie: ProfileCookie) -> None:
        self._headers.append(("Set-Cookie", cookie.header()))

    def set_header(self, name: str, value: str) -> None:
        self._headers[:] = [pair for pair in self._headers if pair[0].lower() != name.lower()]
        self._headers.append((name, value))


def context_of(environ: WSGIEnvironment) -> KoalaContext | None:
    """This request's Koala context; None if no KoalaMiddleware has seen the request."""
    context = environ.get("koala")
    return context if isinstance(context, KoalaContext) else None
