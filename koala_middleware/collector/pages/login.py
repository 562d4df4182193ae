"""The login page, logging in and logging out. Must not know how passwords are checked."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from koala_middleware.collector.access.logins import COOKIE, MAX_AGE
from koala_middleware.collector.http import read_body
from koala_middleware.collector.pages.rendering import page
from koala_middleware.collector.runtime import collector_of
from koala_middleware.collector.validation.refusal import RequestRefused


async def login_page(request: Request) -> Response:
    return page(request, "login.html", wrong="")


async def log_in(request: Request) -> Response:
    if _from_another_site(request):
        return page(request, "login.html", 403, wrong="This form was sent from another site.")
    logins = collector_of(request).logins
    name, password = await _name_and_password(request)
    if not logins.may_try(request.client.host if request.client else ""):
        return page(request, "login.html", 429, wrong="Too many attempts. Wait a little, then try again.")
    cookie = await asyncio.to_thread(logins.cookie_for, name, password)
    if cookie is None:
        return page(request, "login.html", 403, wrong="Wrong name or password.")
    response = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, cookie, max_age=MAX_AGE, httponly=True, samesite="lax", secure=secure)
    return response


async def _name_and_password(request: Request) -> tuple[str, str]:
    """From the form; empty where it cannot be read."""
    try:
        form = parse_qs((await read_body(request.receive)).decode("utf-8", "replace"), max_num_fields=10)
    except (RequestRefused, ValueError):
        form = {}
    return form.get("name", [""])[0], form.get("password", [""])[0]


async def log_out(request: Request) -> Response:
    if _from_another_site(request):
        return page(request, "missing.html", 403, why="This form was sent from another site.")
    await asyncio.to_thread(collector_of(request).logins.log_out, request)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


def _from_another_site(request: Request) -> bool:
    """Whether a browser says that another site's page sent the form."""
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


routes = [
    Route("/login", login_page),
    Route("/login", log_in, methods=["POST"]),
    Route("/logout", log_out, methods=["POST"]),
]
