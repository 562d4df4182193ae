"""The sites that are put under load: one page, made by reading rows and filling a template, in three frameworks.

BENCH_TRACKER names what every request is recorded with: koala, segment, posthog or sentry (which records requests by
itself), at BENCH_ENDPOINT; without it nothing is. Each site is made by a function, which the servers call:
`uvicorn --factory benchmarks.sites:fastapi_site`, `gunicorn 'benchmarks.sites:flask_site()'`.
"""

import os
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from jinja2 import Template

SHELVES = ("tools", "garden", "paint", "lamps", "doors")  # on the page: a query and a table each
ROWS = 40  # of each
TRACKER = os.environ.get("BENCH_TRACKER")
KOALA = TRACKER == "koala"
ENDPOINT = os.environ.get("BENCH_ENDPOINT", "")
BARE = "BENCH_BARE" in os.environ  # one word: the least that an app can do
PAGE = Template(
    "<title>Shop</title>{% for shelf, rows in shelves %}<h2>{{ shelf }}</h2><table>{% for name, price in rows %}"
    "<tr><td>{{ name | e }}</td><td>{{ '%0.2f' | format(price) }}</td></tr>{% endfor %}</table>{% endfor %}",
)
EVENT = "Viewed Shelf"
PROPERTIES = {"shelves": len(SHELVES), "rows": ROWS}
Record = Callable[[Any, str], object]  # from the request and the visitor's id
_own = threading.local()


def page() -> str:
    if BARE:
        return "Hello"
    rendered: str = PAGE.render(shelves=[(shelf, _rows(shelf)) for shelf in SHELVES])
    return rendered


def _rows(shelf: str) -> list[tuple[str, float]]:
    found = _database().execute("SELECT name, price FROM product WHERE shelf = ? LIMIT ?", (shelf, ROWS))
    return found.fetchall()


def _database() -> sqlite3.Connection:
    """One database for each thread, as sites have."""
    if not hasattr(_own, "database"):
        _own.database = sqlite3.connect(":memory:")
        _own.database.execute("CREATE TABLE product (shelf TEXT, name TEXT, price REAL)")
        _own.database.execute("CREATE INDEX by_shelf ON product (shelf)")
        rows = [
            (shelf, f"No. {number} of {shelf}", number * 1.5) for shelf in SHELVES for number in range(100)
        ]
        _own.database.executemany("INSERT INTO product VALUES (?, ?, ?)", rows)
    return _own.database  # type: ignore[no-any-return]  # a thread's own attributes have no types


def _segment() -> Record:
    from segment.analytics.client import Client

    client = Client("key", host=ENDPOINT)
    return lambda _request, visitor: client.track(visitor, EVENT, dict(PROPERTIES))


def _posthog() -> Record:
    from posthog import Posthog

    client = Posthog("phc_key", host=ENDPOINT)
    return lambda _request, visitor: client.capture(EVENT, distinct_id=visitor, properties=dict(PROPERTIES))


def _sentry() -> Record:
    """One transaction for each request, by its own integration of the framework."""
    import sentry_sdk

    sentry_sdk.init(ENDPOINT.replace("http://", "http://key@") + "/1", traces_sample_rate=1.0)
    return lambda _request, _visitor: None


RECORDERS: dict[str | None, Callable[[], Record]] = {
    None: lambda: lambda _request, _visitor: None,
    "koala": lambda: lambda request, _visitor: request.koala.track(EVENT, PROPERTIES),
    "segment": _segment,
    "posthog": _posthog,
    "sentry": _sentry,
}


def fastapi_site() -> Any:
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse

    record = RECORDERS[TRACKER]()  # sentry patches what is made after it
    app = FastAPI()

    @app.get("/", response_class=HTMLResponse)
    async def shelf(request: Request) -> str:
        record(request, request.cookies["ko_id"])
        return page()

    if KOALA:
        from koala_middleware.asgi import KoalaMiddleware

        app.add_middleware(KoalaMiddleware)
    return app


def flask_site() -> Any:
    from flask import Flask, request

    record = RECORDERS[TRACKER]()
    app = Flask(__name__)

    @app.get("/")
    def shelf() -> str:
        record(request, request.cookies["ko_id"])
        return page()

    if KOALA:
        from koala_middleware.flask import Koala

        Koala(app)
    return app


def django_site() -> Any:
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import path

    record = RECORDERS[TRACKER]()

    def shelf(request: Any) -> HttpResponse:
        record(request, request.COOKIES["ko_id"])
        return HttpResponse(page())

    settings.configure(
        ROOT_URLCONF=(path("", shelf),),
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="bench",
        MIDDLEWARE=[
            *(["koala_middleware.django.KoalaMiddleware"] if KOALA else []),
            "django.middleware.common.CommonMiddleware",
        ],
    )
    django.setup()
    return WSGIHandler()
