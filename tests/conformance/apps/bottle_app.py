"""The site in Bottle: `request.environ["koala"]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bottle
from conformance.handlers import ROUTES, RawRequest, Reply, resolved, sorry
from conformance.switchboard import WsgiSwitchboard

from koala_middleware.wsgi import KoalaMiddleware


def view(handler: Callable[[Any], Reply]) -> Callable[[], Any]:
    def answer() -> Any:
        return response_of(handler(raw()))

    return answer


def raw() -> RawRequest:
    return RawRequest(bottle.request.environ.get("koala"), bottle.request.headers)


def response_of(reply: Reply) -> Any:
    body = reply.file.read_bytes() if reply.file else reply.body
    response = bottle.HTTPResponse(reply.chunks() if reply.chunks else body, reply.status)
    response.content_type = "text/plain"
    for name, value in reply.headers:
        response.add_header(name, value)
    return response


def echo() -> bytes:
    body: bytes = bottle.request.body.read()
    return body


def error_page(error: Any) -> bytes:
    return sorry(raw()).body


def build(settings: dict[str, Any] | None) -> Any:
    app = bottle.Bottle()
    for path, handler in ROUTES.items():
        app.route(path, ["GET", "POST", "OPTIONS"], view(handler))
    app.route("/echo", "POST", echo)
    app.error(500)(error_page)
    return app if settings is None else KoalaMiddleware(app, **resolved(settings))


application = WsgiSwitchboard(build)
