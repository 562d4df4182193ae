"""The site in Falcon, under WSGI (`req.env["koala"]`) and under ASGI (`req.scope["koala"]`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon
import falcon.asgi
from conformance.asgi_chunks import as_async
from conformance.handlers import ROUTES, RawRequest, Reply, resolved, sorry
from conformance.switchboard import AsgiSwitchboard, WsgiSwitchboard

from koala_middleware import asgi, wsgi


class Page:
    """A resource under WSGI."""

    def __init__(self, handler: Callable[[Any], Reply]) -> None:
        self.handler = handler

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        reply = self.handler(raw(req))
        fill(resp, reply)
        if reply.chunks is not None:
            resp.stream = reply.chunks()

    on_post = on_head = on_options = on_get


class AsyncPage:
    """A resource under ASGI."""

    def __init__(self, handler: Callable[[Any], Reply]) -> None:
        self.handler = handler

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        reply = self.handler(raw(req))
        fill(resp, reply)
        if reply.chunks is not None:
            resp.stream = as_async(reply.chunks())

    on_post = on_head = on_options = on_get


def raw(req: Any) -> RawRequest:
    holder = getattr(req, "env", None) or req.scope
    return RawRequest(holder.get("koala"), {name.title(): value for name, value in req.headers.items()})


def fill(resp: Any, reply: Reply) -> None:
    resp.status = reply.status
    resp.content_type = "text/plain"
    if reply.chunks is None:
        resp.data = reply.file.read_bytes() if reply.file else reply.body
    for name, value in reply.headers:
        if name == "Set-Cookie":
            key, _, rest = value.partition("=")
            resp.set_cookie(key, rest.partition(";")[0], http_only="HttpOnly" in rest, secure=False, path="/")
        else:
            resp.append_header(name, value)


class Echo:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = req.bounded_stream.read()


class AsyncEcho:
    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = await req.stream.read()


def error_page(req: Any, resp: Any, error: Exception, params: Any) -> None:
    fill(resp, sorry(raw(req)))


async def async_error_page(req: Any, resp: Any, error: Exception, params: Any) -> None:
    fill(resp, sorry(raw(req)))


def build(settings: dict[str, Any] | None) -> Any:
    app = falcon.App()
    for path, handler in ROUTES.items():
        app.add_route(path, Page(handler))
    app.add_route("/echo", Echo())
    app.add_error_handler(Exception, error_page)
    return app if settings is None else wsgi.KoalaMiddleware(app, **resolved(settings))


def build_async(settings: dict[str, Any] | None) -> Any:
    app = falcon.asgi.App()
    for path, handler in ROUTES.items():
        app.add_route(path, AsyncPage(handler))
    app.add_route("/echo", AsyncEcho())
    app.add_error_handler(Exception, async_error_page)
    return app if settings is None else asgi.KoalaMiddleware(app, **resolved(settings))


application = WsgiSwitchboard(build)
asgi_application = AsgiSwitchboard(build_async)
