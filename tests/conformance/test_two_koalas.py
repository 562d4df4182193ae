"""Two Koalas around one request are one: the outer one handles it, also across a bridge from ASGI to WSGI."""

from __future__ import annotations

import asyncio
from typing import Any

import conformance.apps.django_app  # noqa: F401  (configures Django)
import pytest
from a2wsgi import WSGIMiddleware
from asgiref.wsgi import WsgiToAsgi
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import path
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from werkzeug.test import Client

from koala_middleware import KoalaClient, koala
from koala_middleware.asgi import KoalaMiddleware
from koala_middleware.flask import Koala, request
from koala_middleware.testing import RecordedBatches
from koala_middleware.wsgi import KoalaMiddleware as WsgiKoalaMiddleware

SETTINGS: dict[str, Any] = {"public_api_key": "pk_outer", "page_views": True}
BROWSER = {"Accept": "text/html", "User-Agent": "Mozilla/5.0"}


def flask_app(**settings: Any) -> Flask:
    app = Flask(__name__)
    Koala(app, **{**SETTINGS, **settings})

    @app.get("/")
    def home() -> tuple[str, int, dict[str, str]]:
        request.koala.track("Seen")
        return koala.profile_id or "", 200, {"Content-Type": "text/html"}

    return app


def view(request: HttpRequest) -> HttpResponse:
    request.koala.track("Seen", on_commit=True)  # type: ignore[attr-defined]  # the middleware's
    return HttpResponse(koala.profile_id or "")


def django_app() -> Any:
    with override_settings(
        ROOT_URLCONF=(path("", view),),
        MIDDLEWARE=["koala_middleware.django.KoalaMiddleware"],
        KOALA_PUBLIC_API_KEY="pk_outer",
        KOALA_PAGE_VIEWS=True,
    ):
        return WSGIHandler()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("inner", [flask_app, django_app], ids=["Flask", "Django"])
@pytest.mark.parametrize("bridge", [WSGIMiddleware, WsgiToAsgi], ids=["a2wsgi", "asgiref"])
def test_a_wsgi_app_behind_a_bridge_shares_the_visitor_of_the_asgi_app(
    bridge: Any, inner: Any, koala_events: RecordedBatches
) -> None:
    app = Starlette(routes=[Mount("/shop", app=bridge(inner()))])
    app.add_middleware(KoalaMiddleware, **SETTINGS)

    with override_settings(ROOT_URLCONF=(path("", view),)):
        answer = TestClient(app).get("/shop/", headers=BROWSER)

    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.partition("=")[2].startswith(answer.text)
    assert sorted(entry.kind for entry in koala_events) == ["page", "track"]
    assert {entry.profile_id for entry in koala_events} == {answer.text}


def test_the_settings_of_the_inner_one_are_named_once(
    koala_events: RecordedBatches, caplog: pytest.LogCaptureFixture
) -> None:
    inner = flask_app(public_api_key="pk_inner", exclude_paths=["/"])
    browser = Client(WsgiKoalaMiddleware(inner, **SETTINGS))
    for _ in range(2):
        browser.get("/").close()

    (line,) = [record.message for record in caplog.records if "installed twice" in record.message]
    assert "public_api_key, exclude_paths" in line
    assert "pk_inner" not in line


@pytest.mark.parametrize(("outer", "inner"), [("full", "none"), ("none", "full")])
def test_of_two_consents_the_stricter_counts(koala_events: RecordedBatches, outer: str, inner: str) -> None:
    app = WsgiKoalaMiddleware(flask_app(consent=lambda _: inner), consent=lambda _: outer, **SETTINGS)
    answer = Client(app).get("/", headers=BROWSER)
    answer.close()

    assert "Set-Cookie" not in answer.headers
    assert not koala_events


def test_of_two_consents_the_stricter_counts_in_asgi(koala_events: RecordedBatches) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["koala"].track("Seen")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def consent(_head: object) -> str:
        await asyncio.sleep(0)
        return "none"

    inner = KoalaMiddleware(app, public_api_key="pk_inner", consent=consent)
    answer = TestClient(KoalaMiddleware(inner, **SETTINGS)).get("/")

    assert "set-cookie" not in answer.headers
    assert not koala_events


def test_an_environ_that_is_run_again_has_a_new_exchange(koala_events: RecordedBatches) -> None:
    """A retry around Koala, or a cascade of apps."""
    app = WsgiKoalaMiddleware(flask_app(), **SETTINGS)

    def twice(environ: Any, start_response: Any) -> Any:
        discarded: Any = app(environ, lambda *_: lambda _: None)
        list(discarded)
        discarded.close()
        return app(environ, start_response)

    answer = Client(twice).get("/", headers=BROWSER)

    assert answer.headers["Set-Cookie"].partition("=")[2].startswith(answer.text)
    answer.close()
    koala_events.assert_tracked("Seen", profile_id=answer.text)


def test_a_scope_that_is_run_again_has_a_new_exchange(koala_events: RecordedBatches) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["koala"].profile_id.encode()})

    inner = KoalaMiddleware(app, **SETTINGS)

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        async def drop(_message: object) -> None: ...

        await inner(scope, receive, drop)
        await inner(scope, receive, send)

    answer = TestClient(twice).get("/")
    assert answer.headers["set-cookie"].partition("=")[2].startswith(answer.text)


def test_a_request_that_a_handler_makes_itself_is_no_part_of_its_own(koala_events: RecordedBatches) -> None:
    shop = Client(WsgiKoalaMiddleware(flask_app(), **SETTINGS))

    def asking(environ: Any, start_response: Any) -> list[bytes]:
        answer = shop.get("/", headers={"User-Agent": "a service"})
        assert answer.text != environ["koala"].profile_id
        answer.close()
        start_response("200 OK", [])
        return []

    Client(WsgiKoalaMiddleware(asking, **SETTINGS)).get("/", headers=BROWSER).close()
    assert len(koala_events.tracked) == 1


def test_a_script_that_calls_an_app_is_not_around_its_requests(koala_events: RecordedBatches) -> None:
    client = KoalaClient(public_api_key="pk_test")
    with client.person(email="ada@example.com"):
        Client(WsgiKoalaMiddleware(flask_app(), **SETTINGS)).get("/", headers=BROWSER).close()

    assert koala_events.tracked[0].email is None
