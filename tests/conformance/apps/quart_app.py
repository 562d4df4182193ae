"""The site in Quart: `request.scope["koala"]`, with the raw ASGI middleware around `app.asgi_app`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.asgi_chunks import as_async
from conformance.handlers import ROUTES, RawRequest, Reply, resolved, sorry
from conformance.switchboard import AsgiSwitchboard
from quart import Quart, Response, request

from koala_middleware.asgi import KoalaMiddleware


def view(handler: Callable[[Any], Reply]) -> Callable[[], Any]:
    async def answer() -> Response:
        return response_of(handler(raw()))

    return answer


def raw() -> RawRequest:
    return RawRequest(request.scope.get("koala"), request.headers)  # type: ignore[arg-type]  # None without Koala


def response_of(reply: Reply) -> Response:
    if reply.chunks is not None:
        body: Any = as_async(reply.chunks())
    else:
        body = reply.file.read_bytes() if reply.file else reply.body
    response = Response(body, reply.status, mimetype="text/plain")
    for name, value in reply.headers:
        response.headers.add(name, value)
    return response


async def echo() -> Response:
    return Response(await request.get_data())


async def error_page(error: Exception) -> Response:
    return response_of(sorry(raw()))


def build(settings: dict[str, Any] | None) -> Any:
    app = Quart(__name__)
    for path, handler in ROUTES.items():
        methods = ["GET", "POST", "OPTIONS"]
        app.add_url_rule(path, path, view(handler), methods=methods, provide_automatic_options=False)
    app.add_url_rule("/echo", view_func=echo, methods=["POST"])
    app.register_error_handler(500, error_page)
    if settings is not None:
        app.asgi_app = KoalaMiddleware(app.asgi_app, **resolved(settings))  # type: ignore[assignment, method-assign]  # Quart's documented way
    return app


application = AsgiSwitchboard(build)
