"""Templates to HTML, with headers that keep any text from running as script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from koala_middleware.collector.access.logins import COOKIE
from koala_middleware.collector.pages import charts, formatting
from koala_middleware.collector.settings import PUBLIC_API_KEY
from koala_middleware.collector.times import iso
from koala_middleware.protocol.script_tags import script_tags

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
COMPRESSED = [Middleware(GZipMiddleware, compresslevel=5)]  # for the routes of pages
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without one, forms would send "Origin: null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SECTIONS = (
    ("/", "Live"),
    ("/people", "People"),
    ("/accounts", "Accounts"),
    ("/events", "Events"),
    ("/health", "Health"),
)

_templates = Environment(
    loader=PackageLoader("koala_middleware.collector.pages", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
for _filter in (
    formatting.browser,
    formatting.display_name,
    formatting.clock_time,
    formatting.day_name,
    formatting.describe,
    formatting.excerpt,
    formatting.is_long,
    formatting.hue,
    formatting.initials,
    iso,
    formatting.number,
    formatting.pretty,
    formatting.short_json,
    formatting.size,
    formatting.timestamp,
    formatting.whole,
):
    _templates.filters[_filter.__name__] = _filter


def browser_lines(key: str, address: str) -> str:
    """The lines to paste into a page, as text; empty for a key that a page could not name."""
    return str.__str__(script_tags(key, address)) if PUBLIC_API_KEY.fullmatch(key) else ""


_templates.globals |= {"sections": SECTIONS, "bars": charts.bars, "browser_lines": browser_lines}


def render(template: str, **values: Any) -> str:
    return _templates.get_template(template).render(**values)


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A whole page. Templates also get the section the request is in, and the collector's own address."""
    path = request.url.path
    section = next(
        (href for href, _ in SECTIONS[1:] if path.startswith(href)),
        "/people" if path.startswith("/visitors") else "/",
    )
    settings = request.app.state.collector.settings
    values |= {
        "section": section,
        "address": str(request.base_url).rstrip("/"),
        "logged_in": COOKIE in request.cookies,
        "key": min(settings.keys) if settings.keys else "pk_dev",
    }
    return HTMLResponse(render(template, **values), status, HEADERS)
