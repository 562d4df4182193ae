"""Asks for a login before pages and the JSON about people; senders, probes and styles pass.

An ASGI middleware. Must not know what the pages show.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from koala_middleware.collector.access.logins import LASTS
from koala_middleware.collector.pages.rendering import COOKIE, page
from koala_middleware.collector.receiving.batches import answer, body_of
from koala_middleware.collector.recording.writer import Away
from koala_middleware.collector.runtime import Collector
from koala_middleware.collector.validation.batches import Refused

# The protocol (it has keys of its own), probes without personal data, and what the login page needs.
OPEN = ("/web/", "/v1/", "/api/v1/", "/static/", "/healthz", "/metrics", "/openapi.json", "/login")


class Guard:
    """Lets pass whoever may."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not scope["path"].startswith(OPEN):
            connection = HTTPConnection(scope)
            collector: Collector = scope["app"].state.collector
            try:
                if await asyncio.to_thread(_must_log_in, collector, connection):
                    app = _turned_away(connection)
            except Away:
                app = _come_again()
        await app(scope, receive, send)


def _must_log_in(collector: Collector, connection: HTTPConnection) -> bool:
    return collector.logins.required() and collector.logins.visitor(connection, COOKIE) is None


def _turned_away(connection: HTTPConnection) -> Response:
    if connection.url.path.startswith("/api/"):
        return answer({"error": "A login is required", "code": "unauthorized"}, 401)
    return RedirectResponse("/login", 303)


def away(request: Request, error: Exception) -> Response:  # noqa: ARG001  (an exception handler's shape)
    """Whatever cannot be answered without the database."""
    return _come_again()


def _come_again() -> Response:
    said = {"error": "The database cannot be reached now; come again", "code": "database_away"}
    return answer(said, 503, {"Retry-After": "1"})


async def login_page(request: Request) -> Response:
    return page(request, "login.html", wrong="")


async def log_in(request: Request) -> Response:
    collector: Collector = request.app.state.collector
    try:
        form = parse_qs((await body_of(request.receive, "")).decode("utf-8", "replace"), max_num_fields=10)
    except (Refused, ValueError):
        form = {}
    name, password = (form.get(field, [""])[0] for field in ("name", "password"))
    if not collector.logins.may_try(request.client.host if request.client else ""):
        return page(request, "login.html", 429, wrong="Too many tries. Wait a little, then try again.")
    cookie = await asyncio.to_thread(collector.logins.cookie_for, name, password)
    if cookie is None:
        return page(request, "login.html", 403, wrong="This name and password do not go together.")
    answered = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answered.set_cookie(COOKIE, cookie, max_age=LASTS, httponly=True, samesite="lax", secure=secure)
    return answered


async def log_out(request: Request) -> Response:  # noqa: ARG001  (an endpoint's shape)
    answered = RedirectResponse("/login", 303)
    answered.delete_cookie(COOKIE)
    return answered


routes = [
    Route("/login", login_page),
    Route("/login", log_in, methods=["POST"]),
    Route("/logout", log_out, methods=["POST"]),
]
