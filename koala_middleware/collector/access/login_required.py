"""Asks for a login before pages and the JSON about people. Senders, probes and static files pass.

An ASGI middleware. Must not know what the pages show.
"""

from __future__ import annotations

import asyncio

from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from koala_middleware.collector.access.logins import Logins
from koala_middleware.collector.http import json_response
from koala_middleware.collector.store.errors import DatabaseUnavailable

# The protocol (it has keys of its own), probes without personal data, and what the login page needs.
OPEN = ("/web/", "/v1/", "/api/v1/", "/static/", "/healthz", "/metrics", "/openapi.json", "/login")


class LoginRequired:
    """Passes on requests that are open or logged in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not scope["path"].startswith(OPEN):
            connection = HTTPConnection(scope)
            logins: Logins = scope["app"].state.collector.logins
            try:
                if await asyncio.to_thread(_must_log_in, logins, connection):
                    app = _login_first(connection)
            except DatabaseUnavailable:
                app = _unavailable()
        await app(scope, receive, send)


def _must_log_in(logins: Logins, connection: HTTPConnection) -> bool:
    return logins.required() and logins.user(connection) is None


def _login_first(connection: HTTPConnection) -> Response:
    if connection.url.path.startswith("/api/"):
        return json_response({"error": "A login is required", "code": "unauthorized"}, 401)
    return RedirectResponse("/login", 303)


def database_unavailable(request: Request, error: Exception) -> Response:  # noqa: ARG001  (an exception handler's signature)
    """The answer to whatever needs the database."""
    return _unavailable()


def _unavailable() -> Response:
    answer = {"error": "The database cannot be reached now; come again", "code": "database_unavailable"}
    return json_response(answer, 503, {"Retry-After": "1"})
