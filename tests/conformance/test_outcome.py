"""What becomes of recorded calls, by how the exchange ends and who is signed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import conformance.apps.django_app  # noqa: F401  (configures Django)
import flask_login
import pytest
from conformance.sites import Site
from django.contrib.auth.middleware import get_user
from django.core.handlers.wsgi import WSGIHandler
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.test.utils import override_settings
from django.urls import path
from django.utils.functional import SimpleLazyObject
from flask import Flask
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from werkzeug.test import Client as WsgiClient

from koala_middleware import koala
from koala_middleware.asgi import KoalaMiddleware
from koala_middleware.django import KoalaMiddleware as DjangoMiddleware
from koala_middleware.django import KoalaRequest
from koala_middleware.flask import Koala
from koala_middleware.testing import Collector, RecordedBatches
from koala_middleware.wsgi import KoalaMiddleware as WsgiKoalaMiddleware

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
GRACE = "7d444840-9dc0-41d1-b245-5ffdce74fad2"


# on_error


@pytest.mark.koala(on_error="drop")
def test_the_calls_of_a_failed_exchange_may_be_dropped(site: Site, koala_collector: Collector) -> None:
    site.get("/fail", cookie=f"ko_id={ADA}")
    site.reply("/as-told-and-tracked", status=503, cookie=f"ko_id={ADA}")
    site.get("/pricing", cookie=f"ko_id={ADA}")

    site.drained()
    assert [event.name for event in koala_collector.events.tracked] == ["Viewed Pricing"]


@pytest.mark.koala(on_error="tag")
def test_the_calls_of_a_failed_exchange_may_be_sent_with_its_status(
    site: Site, koala_collector: Collector
) -> None:
    site.reply("/as-told-and-tracked", status=503, cookie=f"ko_id={ADA}")
    site.reply("/as-told-and-tracked", status=404, cookie=f"ko_id={GRACE}")

    site.drained()
    contexts = {batch["profile_id"]: batch["events"][0]["context"] for batch in koala_collector.batches}
    assert contexts[ADA]["error"] == {"status": 503}
    assert "error" not in contexts[GRACE]


# identify_user


@dataclass
class User(BaseUser):
    email: str
    plan: str = "pro"
    is_authenticated: bool = True
    is_active: bool = True
    is_anonymous: bool = False

    def get_id(self) -> str:
        return self.email


def email_and_plan(user: User) -> Any:
    return user.email, {"plan": user.plan}


SETTINGS: dict[str, Any] = {"public_api_key": "pk_test", "identify_user": email_and_plan}
Handler = Callable[[], None]


def says_nothing() -> None: ...


def starlette_site(who: User, handler: Handler = says_nothing) -> Any:
    class Backend(AuthenticationBackend):
        async def authenticate(self, _: Any) -> Any:
            return AuthCredentials(), who

    async def page(request: Request[Any]) -> PlainTextResponse:
        handler()
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(AuthenticationMiddleware, backend=Backend())
    app.add_middleware(KoalaMiddleware, **SETTINGS)
    return lambda cookie: TestClient(app).get("/", headers={"Cookie": cookie})


def flask_site(who: User, handler: Handler = says_nothing) -> Any:
    app = Flask(__name__)
    app.secret_key = "for tests"
    flask_login.LoginManager(app).request_loader(lambda _: who)
    Koala(app, **SETTINGS)

    @app.get("/")
    def page() -> str:
        assert flask_login.current_user.email == who.email
        handler()
        return "hello"

    return lambda cookie: app.test_client(use_cookies=False).get("/", headers={"Cookie": cookie}).close()


def answered(site: Any, request: HttpRequest) -> None:
    """As a server does it: the request is closed once its response is out."""
    site(request)
    request.close()


def django_site(who: User, handler: Handler = says_nothing) -> Any:
    def page(request: HttpRequest) -> HttpResponse:
        request._cached_user = who  # type: ignore[attr-defined]  # what a session's look-up leaves
        assert get_user(request).email == who.email  # type: ignore[union-attr]  # one who has
        handler()
        return HttpResponse("hello")

    with override_settings(**{f"KOALA_{name.upper()}": value for name, value in SETTINGS.items()}):
        site = DjangoMiddleware(page)
    return lambda cookie: answered(site, RequestFactory().get("/", headers={"cookie": cookie}))


SITES = pytest.mark.parametrize("build", [starlette_site, flask_site, django_site])


@SITES
def test_a_signed_in_user_is_identified_once_for_each_profile(
    build: Any, koala_events: RecordedBatches
) -> None:
    ask = build(User("ada@example.com"))

    for profile in (ADA, ADA, GRACE, ADA):
        ask(f"ko_id={profile}")

    identified = [(entry.profile_id, entry.email, entry.data["plan"]) for entry in koala_events.identified]
    assert identified == [(ADA, "ada@example.com", "pro"), (GRACE, "ada@example.com", "pro")]


@SITES
def test_nobody_is_identified_where_nobody_is_signed_in(build: Any, koala_events: RecordedBatches) -> None:
    build(User("ada@example.com", is_authenticated=False))(f"ko_id={ADA}")

    assert not koala_events


@SITES
def test_a_user_who_logs_out_is_not_the_next_visitor(build: Any, koala_events: RecordedBatches) -> None:
    """Whatever user the framework still holds."""

    def log_out() -> None:
        koala.reset()
        koala.track("Logged Out")

    build(User("ada@example.com"), log_out)(f"ko_id={ADA}")

    [said] = koala_events
    assert (said.name, said.email) == ("Logged Out", None)
    assert said.profile_id != ADA


@SITES
def test_a_person_identified_after_a_reset_is_the_new_visitor(
    build: Any, koala_events: RecordedBatches
) -> None:
    def switch() -> None:
        koala.reset()
        koala.identify("grace@example.com")

    build(User("ada@example.com"), switch)(f"ko_id={ADA}")

    [said] = koala_events
    assert said.email == "grace@example.com"
    assert said.profile_id != ADA


@SITES
def test_another_user_who_signs_in_after_a_reset_is_identified_with_the_next_request(
    build: Any, koala_events: RecordedBatches
) -> None:
    who = User("ada@example.com")
    began: list[str | None] = []

    def switch() -> None:
        if not began:
            koala.reset()
            began.append(koala.profile_id)
            who.email = "grace@example.com"
            koala.track("Signed In")

    ask = build(who, switch)
    ask(f"ko_id={ADA}")
    koala_events.assert_tracked("Signed In", profile_id=began[0])
    assert not koala_events.identified

    ask(f"ko_id={began[0]}")
    assert [(it.profile_id, it.email) for it in koala_events.identified] == [(began[0], "grace@example.com")]


def test_a_user_that_the_app_has_not_looked_up_is_not_looked_up(koala_events: RecordedBatches) -> None:
    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse("hello")

    def look_up() -> User:
        looked_up.append("Ada")
        return User("ada@example.com")

    looked_up: list[str] = []
    with override_settings(**{f"KOALA_{name.upper()}": value for name, value in SETTINGS.items()}):
        site = DjangoMiddleware(page)
    request = RequestFactory().get("/")
    request.user = SimpleLazyObject(look_up)  # type: ignore[assignment]  # as AuthenticationMiddleware does

    assert site(request).status_code == 200  # type: ignore[union-attr]  # sync
    assert not looked_up
    assert not koala_events


# on_commit


def test_an_event_on_commit_waits_for_the_transaction(koala_events: RecordedBatches) -> None:
    def order(request: KoalaRequest) -> HttpResponse:
        with transaction.atomic():
            request.koala.track("Ordered", {"amount": 9}, on_commit=True)
            assert not request.koala._calls
        assert request.koala._calls
        with transaction.atomic():
            request.koala.track("Paid", on_commit=True)
            transaction.set_rollback(True)
        return HttpResponse()

    with override_settings(KOALA_PUBLIC_API_KEY="pk_test"):
        site = DjangoMiddleware(order)  # type: ignore[arg-type]  # takes a KoalaRequest
    answered(site, RequestFactory().get("/"))

    koala_events.assert_tracked("Ordered", amount=9)
    assert len(koala_events) == 1


def test_on_commit_outside_django_raises_with_a_hint() -> None:
    from koala_middleware import KoalaClient

    with (
        KoalaClient(public_api_key="pk_test").person(email="ada@example.com") as koala,
        pytest.raises(ValueError, match=r"Call track\(\) after your own commit"),
    ):
        koala.track("Ordered", on_commit=True)


@SITES
def test_whoever_signs_in_again_after_somebody_else_is_identified_again(
    build: Any, koala_events: RecordedBatches
) -> None:
    who = User("ada@example.com")
    ask = build(who)
    for email in ("ada@example.com", "grace@example.com", "grace@example.com", "Ada@example.com"):
        who.email = email
        ask(f"ko_id={ADA}")

    emails = [entry.email for entry in koala_events.identified]
    assert emails == ["ada@example.com", "grace@example.com", "Ada@example.com"]


@pytest.mark.parametrize(
    "settings",
    [{"before_send": lambda batch: None if drop_next() else batch}, {"on_error": "drop"}],
    ids=["before_send", "on_error"],
)
def test_an_identify_that_was_dropped_is_made_again(
    settings: dict[str, Any], koala_events: RecordedBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = iter([500, 200])

    def page(request: Request[Any]) -> PlainTextResponse:
        return PlainTextResponse("hello", next(statuses))

    _to_drop[:] = [True]
    app = signed_in_as(User("ada@example.com"), page, **settings)
    for _ in range(2):
        TestClient(app).get("/", headers={"Cookie": f"ko_id={ADA}"})

    assert len(koala_events.identified) == 1


_to_drop: list[bool] = []


def drop_next() -> bool:
    return bool(_to_drop) and _to_drop.pop()


def signed_in_as(who: User, page: Any, **settings: Any) -> Starlette:
    class Backend(AuthenticationBackend):
        async def authenticate(self, _: Any) -> Any:
            return AuthCredentials(), who

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(AuthenticationMiddleware, backend=Backend())
    app.add_middleware(KoalaMiddleware, **{**SETTINGS, **settings})
    return app


def test_flasks_user_is_found_though_a_middleware_copies_the_environ(koala_events: RecordedBatches) -> None:
    """As Flask-SocketIO's does."""
    app = Flask(__name__)
    flask_login.LoginManager(app).request_loader(lambda _: User("ada@example.com"))
    app.add_url_rule("/", view_func=lambda: flask_login.current_user.email)
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start_response: inner(dict(environ), start_response)  # type: ignore[method-assign]
    Koala(app, **SETTINGS)

    app.test_client().get("/").close()
    koala_events.assert_identified("ada@example.com")


def test_djangos_user_is_found_by_a_koala_around_the_site(koala_events: RecordedBatches) -> None:
    def page(request: HttpRequest) -> HttpResponse:
        request._cached_user = User("ada@example.com")  # type: ignore[attr-defined]  # what a look-up leaves
        return HttpResponse("hello")

    with override_settings(
        ROOT_URLCONF=(path("", page),),
        MIDDLEWARE=["koala_middleware.django.KoalaMiddleware"],
        **{f"KOALA_{name.upper()}": value for name, value in SETTINGS.items()},
    ):
        WsgiClient(WsgiKoalaMiddleware(WSGIHandler(), **SETTINGS)).get("/").close()

    koala_events.assert_identified("ada@example.com")
