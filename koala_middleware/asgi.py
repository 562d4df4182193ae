"""ASGI: Starlette, FastAPI, Litestar, Quart and every other ASGI app.

Translates between ASGI's messages and the exchange, and decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request

from koala_middleware.calls.context import KoalaContext, current
from koala_middleware.client import KoalaClient, client_for
from koala_middleware.errors import KoalaNotInstalledError
from koala_middleware.exchange import Exchange
from koala_middleware.identity.cookie import ProfileCookie
from koala_middleware.request.head import AsgiHead, asgi_cookies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Message, Receive, Scope, Send

    # Each framework spells the types of scope, receive and send its own way.
    AnyASGIApp = Callable[..., Awaitable[Any]]

_SWITCHING_PROTOCOLS = 101
_SERVER_ERROR = 500
# A body's messages, the extensions' ways to send a file among them; what has no `more_body` ends it.
_BODIES = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})


class KoalaMiddleware:
    """`app.add_middleware(KoalaMiddleware, public_api_key="pk_…")`, or `app = KoalaMiddleware(app, …)`.

    Args:
        client: A client to share, alone; else one is made from the keywords and the environment.
    Raises:
        KoalaConfigError: a setting is missing or malformed.
        TypeError: a keyword is no setting, or would have no effect beside `client`.
    """

    def __init__(self, app: AnyASGIApp, /, client: KoalaClient | None = None, **settings: Any) -> None:
        self.app = app
        self.client = client_for(client, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Applied twice is applied once: the outer one has the exchange.
        if scope["type"] not in {"http", "websocket"} or "koala" in scope:
            lifespan = scope["type"] == "lifespan"
            await self.app(scope, receive, self._closing(send) if lifespan else send)
            return
        opened = scope, scope.get("path", "/")
        exchange = _AsgiExchange(self.client, asgi_cookies(scope), _head_as_opened, opened)
        exchange.server_send = send
        if self.client.asks_consent:
            await exchange.ask_consent_async()
        context = exchange.context
        scope["koala"] = context
        scope.setdefault("state", {})["koala"] = context
        token = current.set(context)
        try:
            await self.app(scope, receive, exchange.send)
        except Exception:
            exchange.status = exchange.status or _SERVER_ERROR
            raise
        finally:
            current.reset(token)
            exchange.end()

    def _closing(self, send: Send) -> Send:
        """The app's end is delivery's: uvicorn dies of its signal after this, without any exit handler."""

        async def send_and_close(message: Message) -> None:
            if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                await run_in_threadpool(self.client.close)
            await send(message)

        return send_and_close


def _head_as_opened(opened: tuple[Scope, str]) -> AsgiHead:
    """Of a scope and its path when it came: a router may assign the rest of it, Litestar's say, and leave it so."""
    return AsgiHead(*opened)


class _AsgiExchange(Exchange):
    """An exchange whose `send` is what the app is given: amends the response's head, notices its last byte.

    Attributes:
        server_send: The server's own, or that of the middleware around this one.
    """

    __slots__ = ("server_send",)

    server_send: Send

    def send(self, message: Message) -> Awaitable[None]:
        # Hands on the server's own awaitable: a coroutine of ours around each message costs 0.5 µs an exchange,
        # a tenth, and only what was said has to wait for its end.
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            if self.amends():
                response = AsgiResponse(message)
                self.amend(response)
                message = response.message
        elif kind == "websocket.accept":
            self.status = _SWITCHING_PROTOCOLS
        elif self.context.calls:
            return self._send_and_notice(message)
        elif kind in _BODIES and not message.get("more_body", False):
            self.end()
        return self.server_send(message)

    async def _send_and_notice(self, message: Message) -> None:
        self.store()
        await self.server_send(message)
        if message["type"] in _BODIES and not message.get("more_body", False):
            self.end()
        else:
            self.chunk_sent()


class AsgiResponse:
    """A response's head as ASGI's `http.response.start` message: `message` is a copy, since an app may send
    one and the same to everybody. Names are taken in any case, as servers take them."""

    __slots__ = ("_headers", "message")

    def __init__(self, message: Message) -> None:
        self._headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        self.message = {**message, "headers": self._headers}

    def values(self, name: str) -> list[str]:
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in self._headers if key.lower() == wanted]

    def sets_cookie(self, name: str) -> bool:
        return any(value.startswith(f"{name}=") for value in self.values("set-cookie"))

    def set_cookie(self, cookie: ProfileCookie) -> None:
        self._headers.append((b"set-cookie", cookie.header().encode("latin-1")))

    def set_header(self, name: str, value: str) -> None:
        wanted = name.lower().encode("latin-1")
        self._headers[:] = [pair for pair in self._headers if pair[0].lower() != wanted]
        self._headers.append((wanted, value.encode("latin-1")))


def _koala(connection: HTTPConnection) -> KoalaContext:
    """This request's Koala context; set by KoalaMiddleware."""
    context = connection.scope.get("koala")
    if not isinstance(context, KoalaContext):
        raise KoalaNotInstalledError("app.add_middleware(KoalaMiddleware, public_api_key=…)")
    return context


# Beside Starlette's own `session`, `user` and `auth`: one read-only property, only where the name is free.
if not hasattr(HTTPConnection, "koala"):
    HTTPConnection.koala = property(_koala)  # type: ignore[attr-defined]  # the name is new to the class

if TYPE_CHECKING:

    class KoalaRequest(Request):
        """For annotations: a Starlette or FastAPI request with its `koala`."""

        @property
        def koala(self) -> KoalaContext: ...
else:
    KoalaRequest = Request
