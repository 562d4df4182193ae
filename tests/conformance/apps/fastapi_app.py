"""The site in FastAPI: sync endpoints in its thread pool, `request.koala`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.apps.starlette_app import chat, error_page, response_of
from conformance.handlers import ROUTES, Reply, resolved
from conformance.switchboard import AsgiSwitchboard
from fastapi import FastAPI, Request, Response, WebSocket

from koala_middleware.asgi import KoalaMiddleware


def endpoint(handler: Callable[[Any], Reply]) -> Callable[..., Any]:
    def answer(request: Request) -> Response:
        return response_of(handler(request))

    return answer


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def chat_endpoint(websocket: WebSocket) -> None:
    await chat(websocket)


def build(settings: dict[str, Any] | None) -> Any:
    methods = ["GET", "HEAD", "POST", "OPTIONS"]
    app = FastAPI(exception_handlers={Exception: error_page})
    for path, handler in ROUTES.items():
        app.api_route(path, methods=methods)(endpoint(handler))
    app.api_route("/echo", methods=methods)(echo)
    app.websocket("/chat")(chat_endpoint)
    if settings is not None:
        app.add_middleware(KoalaMiddleware, **resolved(settings))
    return app


application = AsgiSwitchboard(build)
