"""The site in Pyramid: `request.environ["koala"]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.handlers import ROUTES, RawRequest, Reply, resolved, sorry
from conformance.switchboard import WsgiSwitchboard
from pyramid.config import Configurator
from pyramid.response import FileResponse, Response

from koala_middleware.wsgi import KoalaMiddleware


def view(handler: Callable[[Any], Reply]) -> Callable[[Any], Any]:
    def answer(request: Any) -> Any:
        return response_of(handler(raw(request)))

    return answer


def raw(request: Any) -> RawRequest:
    return RawRequest(request.environ.get("koala"), request.headers)


def response_of(reply: Reply) -> Any:
    if reply.file is not None:
        return FileResponse(str(reply.file), content_type="text/plain")
    response = Response(reply.body, status=reply.status, content_type="text/plain", charset="utf-8")
    if reply.chunks is not None:
        response.app_iter = reply.chunks()
    for name, value in reply.headers:
        response.headerlist.append((name, value))
    return response


def echo(request: Any) -> Any:
    return Response(request.body)


def error_page(error: Exception, request: Any) -> Any:
    return response_of(sorry(raw(request)))


def build(settings: dict[str, Any] | None) -> Any:
    config = Configurator()
    for path, handler in {**ROUTES, "/echo": None}.items():
        config.add_route(path, path)
        config.add_view(view(handler) if handler else echo, route_name=path)
    config.add_exception_view(error_page, context=Exception)
    app = config.make_wsgi_app()
    return app if settings is None else KoalaMiddleware(app, **resolved(settings))


application = WsgiSwitchboard(build)
