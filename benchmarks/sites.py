"""The sites that are put under load: one page, made by reading rows and filling a template, in three frameworks.

With Koala where the environment has a key, and then every request tracks. Each site is made by a function, which
the servers call: `uvicorn --factory benchmarks.sites:fastapi_site`, `gunicorn 'benchmarks.sites:flask_site()'`.
"""

import os
import sqlite3
import threading
from typing import Any

from jinja2 import Template

SHELVES = ("tools", "garden", "paint", "lamps", "doors")  # on the page: a query and a table each
ROWS = 40  # of each
KOALA = "KOALA_PUBLIC_API_KEY" in os.environ
BARE = "BENCH_BARE" in os.environ  # nothing but a word: the least that an app can do
PAGE = Template(
    "<title>Shop</title>{% for shelf, rows in shelves %}<h2>{{ shelf }}</h2><table>{% for name, price in rows %}"
    "<tr><td>{{ name | e }}</td><td>{{ '%0.2f' | format(price) }}</td></tr>{% endfor %}</table>{% endfor %}",
)
PROPERTIES = {"shelves": len(SHELVES), "rows": ROWS}
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
    """One a thread, as sites have."""
    if not hasattr(_own, "database"):
        _own.database = sqlite3.connect(":memory:")
        _own.database.execute("CREATE TABLE product (shelf TEXT, name TEXT, price REAL)")
        _own.database.execute("CREATE INDEX by_shelf ON product (shelf)")
        rows = [
            (shelf, f"No. {number} of {shelf}", number * 1.5) for shelf in SHELVES for number in range(100)
        ]
        _own.database.executemany("INSERT INTO product VALUES (?, ?, ?)", rows)
    return _own.database  # type: ignore[no-any-return]  # a thread's own attributes have no types


def fastapi_site() -> Any:
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse

    app = FastAPI()

    @app.get("/", response_class=HTMLResponse)
    async def shelf(request: Request) -> str:
        if KOALA:
            request.koala.track("Viewed Shelf", PROPERTIES)  # type: ignore[attr-defined]  # ours
        return page()

    if KOALA:
        from koala_middleware.asgi import KoalaMiddleware

        app.add_middleware(KoalaMiddleware)
    return app


def flask_site() -> Any:
    from flask import Flask, request

    app = Flask(__name__)

    @app.get("/")
    def shelf() -> str:
        if KOALA:
            request.koala.track("Viewed Shelf", PROPERTIES)  # type: ignore[attr-defined]  # ours
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

    def shelf(request: Any) -> HttpResponse:
        if KOALA:
            request.koala.track("Viewed Shelf", PROPERTIES)
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
