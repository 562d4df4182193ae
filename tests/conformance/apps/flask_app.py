"""The site in Flask: `request.koala`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
from conformance.handlers import ROUTES, Reply, resolved, sorry
from conformance.switchboard import WsgiSwitchboard
from flask import Flask, Response, request, send_file, stream_with_context

from koala_middleware.flask import Koala


def view(handler: Callable[[Any], Reply]) -> Callable[[], Response]:
    def answer() -> Response:
        return response_of(handler(request))

    answer.__name__ = handler.__name__
    return answer


def response_of(reply: Reply) -> Response:
    if reply.chunks is not None:
        chunks: Any = reply.chunks()
        body = (
            chunks
            if hasattr(chunks, "close") and not hasattr(chunks, "send")
            else stream_with_context(chunks)
        )
        response = Response(body, reply.status, mimetype="text/plain")
    elif reply.file is not None:
        response = send_file(reply.file, mimetype="text/plain")
    else:
        response = Response(reply.body, reply.status, mimetype="text/plain")
    for name, value in reply.headers:
        response.headers.add(name, value)
    if reply.after:
        response.call_on_close(reply.after)
    return response


def echo() -> Response:
    return Response(request.get_data())


def error_page(error: Exception) -> Response:
    return response_of(sorry(flask.request))  # type: ignore[arg-type]  # Flask's own type does not know `koala`


def build(settings: dict[str, Any] | None) -> Any:
    app = Flask(__name__)
    for path, handler in ROUTES.items():
        methods = ["GET", "POST", "OPTIONS"]
        app.add_url_rule(path, path, view(handler), methods=methods, provide_automatic_options=False)
    app.add_url_rule("/echo", view_func=echo, methods=["POST"])
    app.register_error_handler(500, error_page)
    if settings is not None:
        app.config.update({f"KOALA_{name.upper()}": value for name, value in resolved(settings).items()})
        Koala(app)
    return app


application = WsgiSwitchboard(build)
