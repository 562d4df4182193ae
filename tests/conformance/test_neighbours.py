"""Beside the other middlewares that sites have, inside them and outside."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as WsgiOpenTelemetryMiddleware
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client
from whitenoise import WhiteNoise

from koala_middleware import koala
from koala_middleware.asgi import KoalaMiddleware
from koala_middleware.testing import RecordedBatches
from koala_middleware.wsgi import KoalaMiddleware as WsgiKoalaMiddleware

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
KOALA = Middleware(KoalaMiddleware, public_api_key="pk_test")


class Timing(BaseHTTPMiddleware):
    """Runs the app in a task of its own, where context variables set further in are not seen further out."""

    async def dispatch(self, request: Request[Any], call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["X-Timing"] = "1"
        return response


async def page(request: Request[Any]) -> PlainTextResponse:
    request.koala.track("Seen", {"same": koala.profile_id == request.koala.profile_id})  # type: ignore[attr-defined]  # plain type
    return PlainTextResponse("hello " * 200)


async def stream(request: Request[Any]) -> StreamingResponse:
    async def chunks() -> Any:
        koala.track("Streamed")
        yield "hello"

    return StreamingResponse(chunks())


NEIGHBOURS: dict[str, Middleware] = {
    "BaseHTTPMiddleware": Middleware(Timing),
    "GZip": Middleware(GZipMiddleware, minimum_size=100),
    "CORS": Middleware(CORSMiddleware, allow_origins=["*"]),
    "sessions": Middleware(SessionMiddleware, secret_key="for tests"),
    "ProxyHeaders": Middleware(ProxyHeadersMiddleware, trusted_hosts="*"),
    "sentry": Middleware(SentryAsgiMiddleware),
    "OpenTelemetry": Middleware(OpenTelemetryMiddleware),
    "Koala once more": KOALA,
}


@pytest.fixture(autouse=True)
def sentry() -> Iterator[None]:
    """An sdk that is on and sends nowhere."""
    sentry_sdk.init(dsn=None, auto_enabling_integrations=False, default_integrations=False)
    yield
    sentry_sdk.get_client().close()


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_an_asgi_site_records_and_sets_the_same_beside_it(
    neighbour: str, inside: bool, koala_events: RecordedBatches
) -> None:
    pair = [NEIGHBOURS[neighbour], KOALA] if inside else [KOALA, NEIGHBOURS[neighbour]]
    app = Starlette(routes=[Route("/", page), Route("/stream", stream)], middleware=pair)
    client = TestClient(app)

    answer = client.get("/", headers={"Host": "www.example.com"})
    known = client.get("/stream", headers={"Cookie": f"ko_id={ADA}"})

    assert answer.text == "hello " * 200
    assert answer.headers.get_list("set-cookie")[-1].count("ko_id=") <= 1
    assert sum(value.startswith("ko_id=") for value in answer.headers.get_list("set-cookie")) == 1
    assert known.text == "hello"
    assert len(koala_events.tracked) == 2
    koala_events.assert_tracked("Seen", same=True)
    koala_events.assert_tracked("Streamed", profile_id=ADA)


def wsgi_app(environ: Any, start_response: Any) -> Any:
    environ["koala"].track("Seen", {"same": koala.profile_id == environ["koala"].profile_id})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def with_koala(app: Any) -> Any:
    return WsgiKoalaMiddleware(app, public_api_key="pk_test")


WSGI_NEIGHBOURS: dict[str, Callable[[Any], Any]] = {
    "ProxyFix": ProxyFix,
    "WhiteNoise": WhiteNoise,
    "sentry": SentryWsgiMiddleware,
    "OpenTelemetry": WsgiOpenTelemetryMiddleware,
    "Koala once more": with_koala,
}


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
@pytest.mark.parametrize("neighbour", WSGI_NEIGHBOURS)
def test_a_wsgi_site_records_and_sets_the_same_beside_it(
    neighbour: str, inside: bool, koala_events: RecordedBatches
) -> None:
    beside = WSGI_NEIGHBOURS[neighbour]
    app = beside(with_koala(wsgi_app)) if inside else with_koala(beside(wsgi_app))

    answer = Client(app).get("/", headers={"Host": "www.example.com"})
    body = answer.get_data()
    answer.close()

    assert body == b"hello"
    assert sum(value.startswith("ko_id=") for value in answer.headers.getlist("Set-Cookie")) == 1
    assert len(koala_events) == 1
    koala_events.assert_tracked("Seen", same=True)


def test_a_compressed_page_has_the_length_that_it_names(koala_events: RecordedBatches) -> None:
    middleware = [KOALA, NEIGHBOURS["GZip"]]
    client = TestClient(Starlette(routes=[Route("/", page)], middleware=middleware))

    with client.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())

    assert int(answer.headers["Content-Length"]) == len(raw)
    assert gzip.decompress(raw) == b"hello " * 200
