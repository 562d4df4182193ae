"""The site in Litestar: `request.scope["koala"]`, with the raw ASGI middleware around the app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.asgi_chunks import as_async
from conformance.handlers import ROUTES, RawRequest, Reply, resolved, sorry
from conformance.switchboard import AsgiSwitchboard
from litestar import HttpMethod, Litestar, Request, Response, route
from litestar.datastructures import Cookie
from litestar.response import File, Stream

from koala_middleware.asgi import KoalaMiddleware

METHODS = [HttpMethod.GET, HttpMethod.HEAD, HttpMethod.POST, HttpMethod.OPTIONS]


def handler_of(path: str, handler: Callable[[Any], Reply]) -> Any:
    async def answer(request: Request[Any, Any, Any]) -> Response[Any]:
        return response_of(handler(raw(request)))

    return route(path, http_method=METHODS, status_code=200)(answer)


def raw(request: Request[Any, Any, Any]) -> RawRequest:
    return RawRequest(request.scope.get("koala"), request.headers)  # type: ignore[arg-type]  # None without Koala


def response_of(reply: Reply) -> Response[Any]:
    if reply.chunks is not None:
        return Stream(as_async(reply.chunks()), status_code=reply.status, media_type="text/plain")
    if reply.file is not None:
        return File(reply.file, media_type="text/plain")
    response = Response(reply.body, status_code=reply.status, media_type="text/plain")
    for name, value in reply.headers:
        if name == "Set-Cookie":
            key, _, rest = value.partition("=")
            response.set_cookie(
                Cookie(key=key, value=rest.partition(";")[0], httponly="HttpOnly" in rest, secure=False)
            )
        else:
            response.set_header(name, value)
    return response


@route("/echo", http_method=["POST"], status_code=200)
async def echo(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(await request.body(), media_type="application/octet-stream")


def error_page(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    return response_of(sorry(raw(request)))


def build(settings: dict[str, Any] | None) -> Any:
    handlers = [handler_of(path, handler) for path, handler in ROUTES.items()]
    app = Litestar([*handlers, echo], exception_handlers={500: error_page}, openapi_config=None)
    return app if settings is None else KoalaMiddleware(app, **resolved(settings))


application = AsgiSwitchboard(build)
