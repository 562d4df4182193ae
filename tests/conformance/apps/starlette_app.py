"""The site in Starlette: async endpoints, `request.koala`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.asgi_chunks import as_async
from conformance.handlers import ROUTES, Reply, resolved, sorry
from conformance.switchboard import AsgiSwitchboard
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from koala_middleware.asgi import KoalaMiddleware


def endpoint(handler: Callable[[Any], Reply]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return response_of(handler(request))

    return answer


def response_of(reply: Reply) -> Response:
    response: Response
    after = BackgroundTask(reply.after) if reply.after else None
    if reply.chunks is not None:
        response = StreamingResponse(
            as_async(reply.chunks()), reply.status, media_type="text/plain", background=after
        )
    elif reply.file is not None:
        response = FileResponse(reply.file, reply.status, media_type="text/plain", background=after)
    else:
        response = Response(reply.body, reply.status, media_type="text/plain", background=after)
    for name, value in reply.headers:
        response.headers.append(name, value)
    return response


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def error_page(request: Request, error: Exception) -> Response:
    return response_of(sorry(request))  # type: ignore[arg-type]  # Starlette's own type has no `koala`


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            words = await websocket.receive_text()
            websocket.koala.track("Said", {"words": words})  # type: ignore[attr-defined]  # KoalaRequest is for requests
            if words == "flush":
                websocket.koala.flush()  # type: ignore[attr-defined]  # as above
            await websocket.send_text(words.upper())
    except WebSocketDisconnect:
        pass


def build(settings: dict[str, Any] | None) -> Any:
    methods = ["GET", "POST", "OPTIONS"]
    routes = [Route(path, endpoint(handler), methods=methods) for path, handler in ROUTES.items()]
    app = Starlette(
        routes=[*routes, Route("/echo", echo, methods=methods), WebSocketRoute("/chat", chat)],
        exception_handlers={Exception: error_page},
    )
    if settings is not None:
        app.add_middleware(KoalaMiddleware, **resolved(settings))
    return app


application = AsgiSwitchboard(build)
