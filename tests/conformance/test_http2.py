"""HTTP/2, where browsers send each cookie in a field of its own: on every server that speaks it.

hypercorn joins the fields before the app sees them; granian hands on each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from conformance.exchange import Answer
from conformance.http2 import http2_answer
from conformance.sites import FRAMEWORKS, RealServers, on_server

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
ROWS = [
    ("fastapi", "hypercorn"),
    ("django-asgi", "hypercorn"),
    ("asgi", "granian"),
    ("flask", "granian_wsgi"),
    ("django", "gunicorn_http2"),
]
Ask2 = Callable[..., Answer]


@pytest.fixture(params=ROWS, ids="-".join)
def get(request: pytest.FixtureRequest, real_servers: RealServers) -> Iterator[Ask2]:
    """Asks a real server over HTTP/2."""
    name, server = request.param
    [framework] = [framework for framework in FRAMEWORKS if framework.name == name]
    with on_server(
        real_servers.server(server, framework.app),
        framework,
        {"public_api_key": "pk_http2", "delivery": "off"},
    ) as site:
        yield lambda path, **headers: http2_answer(site.port or 0, site.question("GET", path, **headers))


@pytest.mark.parametrize("cookies", [f"a=1; ko_id={ADA}; b=2", f"a=1; b=2; ko_id={ADA}", f"ko_id={ADA}; a=1"])
def test_the_visitor_is_known_whichever_field_holds_the_id(get: Ask2, cookies: str) -> None:
    answer = get("/who-am-i", cookie=cookies)

    assert json.loads(answer.body)["profile_id"] == ADA
    assert answer.cookies == {}


def test_a_new_visitor_gets_a_cookie(get: Ask2) -> None:
    answer = get("/who-am-i")

    assert json.loads(answer.body)["profile_id"] == answer.cookies["ko_id"].value
