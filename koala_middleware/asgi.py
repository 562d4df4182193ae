"""ASGI: Starlette, FastAPI, Litestar, Quart and every other ASGI app.

Handlers find the context as `request.koala` or `request.state.koala` in Starlette, and as `scope["koala"]` anywhere.
Translates between ASGI's messages and the exchange, and decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request

from koala_middleware.calls.context import KoalaContext
from koala_middleware.calls.current import current
from koala_middleware.client import KoalaClient, client_for
from koala_middleware.errors import KoalaNotInstalledError
from koala_middleware.exchange import Exchange, join_async, outer_context
from koala_middleware.identity.cookie import ProfileCookie
from koala_middleware.request.head import AsgiHead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Message, Receive, Scope, Send

    # Each framework spells the types of scope, receive and send its own way.
    AnyASGIApp = Callable[..., Awaitable[Any]]

_SWITCHING_PROTOCOLS = 101
_FORBIDDEN = 403
_SERVER_ERROR = 500
_HEAD_MESSAGES = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
# Messages of a body, those of the extensions that send files among them. One without `more_body` is the last.
_BODY_MESSAGES = frozenset(
    {
        "http.response.body",
        "http.response.pathsend",
        "http.response.zerocopysend",
        "websocket.http.response.body",
    }
)


class KoalaMiddleware:
    """`app.add_middleware(KoalaMiddleware, public_api_key="pk_…")`, or `app = KoalaMiddleware(app, …)`.

    Args:
        client: A client to share, alone; else one is made from the keywords and the environment.
    Raises:
        KoalaConfigError: a setting is missing or malformed.
        TypeError: a keyword is not a setting, or would have no effect beside `client`.
    """

    def __init__(self, app: AnyASGIApp, /, client: KoalaClient | None = None, **settings: Any) -> None:
        self.app = app
        self.client = client_for(client, settings)
        _add_request_property()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            lifespan = scope["type"] == "lifespan"
            await self.app(scope, receive, self._closing(send) if lifespan else send)
            return
        head = AsgiHead(scope)
        if "koala" in scope or current.get(None) is not None:
            outer = outer_context(scope.get("koala"), head)
            if outer is not None:
                await join_async(self.client, outer, head)
                scope["koala"] = outer
                scope.setdefault("state", {})["koala"] = outer
                await self.app(scope, receive, send)
                return
        exchange = _AsgiExchange(self.client, head)
        exchange.server_send = send
        if self.client._asks_consent:
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
        """Close the client when the app shuts down: uvicorn then dies of its signal, without exit handlers."""

        async def send_and_close(message: Message) -> None:
            if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                await run_in_threadpool(self.client.close)
            await send(message)

        return send_and_close


class _AsgiExchange(Exchange):
    """An exchange whose `send` the app is given: processes the response's head and notices its last byte.

    Attributes:
        server_send: The `send` of the server, or of the middleware around this one.
    """

    __slots__ = ("server_send",)

    server_send: Send

    def send(self, message: Message) -> Awaitable[None]:
        # Returns the server's own awaitable: a coroutine around each message costs 0.5 µs, a tenth of an exchange.
        kind = message["type"]
        if kind in _HEAD_MESSAGES:
            self.status = message.get("status", _SWITCHING_PROTOCOLS)
            if self.processes_response():
                response = AsgiResponse(message)
                self.process_response(response)
                message = response.message
        elif kind == "websocket.close" and not self.status:
            self.status = _FORBIDDEN  # the server refuses the handshake with it
        elif self.context._calls:
            return self._send_and_notice(message)
        elif kind in _BODY_MESSAGES and not message.get("more_body", False):
            self.end()
        return self.server_send(message)

    async def _send_and_notice(self, message: Message) -> None:
        self.persist()
        await self.server_send(message)
        if message["type"] in _BODY_MESSAGES and not message.get("more_body", False):
            self.end()
        else:
            self.flush_if_due()


class AsgiResponse:
    """A response's head as ASGI's `http.response.start` or `websocket.accept` message. Takes names in any case.

    Attributes:
        message: A copy, since an app may send the same message to everybody.
    """

    __slots__ = ("_headers", "message")

    def __init__(self, message: Message) -> None:
        self._headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        self.message = {**message, "headers": self._headers}

    def fields(self) -> list[tuple[str, str]]:
        return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self._headers]

    def sets_cookie(self, name: str) -> bool:
        return any(key == "set-cookie" and value.startswith(f"{name}=") for key, value in self.fields())

    def set_cookie(self, cookie: ProfileCookie) -> None:
        self._headers.append((b"set-cookie", cookie.header().encode("latin-1")))

    def set_header(self, name: str, value: str) -> None:
        wanted = name.lower().encode("latin-1")
        self._headers[:] = [pair for pair in self._headers if pair[0].lower() != wanted]
        self._headers.append((wanted, value.encode("latin-1")))


def context_of(connection: HTTPConnection) -> KoalaContext:
    """This request's Koala context.

    Raises:
        KoalaNotInstalledError: no KoalaMiddleware has seen the request.
    """
    context = connection.scope.get("koala")
    if not isinstance(context, KoalaContext):
        raise KoalaNotInstalledError(
            "app.add_middleware(KoalaMiddleware, public_api_key=…), as the last one, so that it is around all others"
        )
    return context


def _add_request_property() -> None:
    """Add `request.koala` beside Starlette's own `session`, `user` and `auth`, unless the name is taken."""
    if not hasattr(HTTPConnection, "koala"):
        HTTPConnection.koala = property(context_of)  # type: ignore[attr-defined]  # the name is new to the class


if TYPE_CHECKING:

    class KoalaRequest(Request):
        """For annotations: a Starlette or FastAPI request with its `koala`."""

        @property
        def koala(self) -> KoalaContext: ...
else:
    KoalaRequest = Request
