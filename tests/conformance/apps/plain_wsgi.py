"""The site as a plain WSGI app: no framework, `environ["koala"]`."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from conformance.handlers import ROUTES, RawRequest, Reply, not_found, resolved
from conformance.switchboard import WsgiSwitchboard
from werkzeug.datastructures import EnvironHeaders

from koala_middleware.wsgi import KoalaMiddleware


def site(environ: Any, start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/echo":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        return _respond(environ, start_response, Reply(environ["wsgi.input"].read(length)))
    request = RawRequest(environ.get("koala"), EnvironHeaders(environ))  # type: ignore[arg-type]  # reads as a mapping
    return _respond(environ, start_response, ROUTES.get(environ["PATH_INFO"], not_found)(request))


def _respond(environ: Any, start_response: Any, reply: Reply) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain"), *reply.headers]
    status = f"{reply.status} {HTTPStatus(reply.status).phrase}"
    if reply.chunks is not None:
        start_response(status, headers)
        return reply.chunks()
    if reply.file is not None:
        start_response(status, [*headers, ("Content-Length", str(reply.file.stat().st_size))])
        opened = reply.file.open("rb")
        return environ["wsgi.file_wrapper"](opened) if "wsgi.file_wrapper" in environ else opened
    if reply.status in {204, 304}:
        headers = reply.headers
    else:
        headers.append(("Content-Length", str(len(reply.body))))
    start_response(status, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [reply.body]


def build(settings: dict[str, Any] | None) -> Any:
    return site if settings is None else KoalaMiddleware(site, **resolved(settings))


application = WsgiSwitchboard(build)
