"""What only Django has: settings in users' tests, system checks, a template tag, and its ways between threads."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar
from weakref import ref

import conformance.apps.django_app  # noqa: F401  (configures Django)
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY, alogin, alogout, login, logout
from django.contrib.auth.models import User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.checks import run_checks
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template import Context, Engine
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import override_settings
from django.urls import path

from koala_middleware import KoalaContext, KoalaNotInstalledError, koala
from koala_middleware.django import KoalaMiddleware, KoalaRequest
from koala_middleware.testing import RecordedBatches

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
INSTALLED = ["koala_middleware.django.KoalaMiddleware"]


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def cookies(site: Any) -> list[str]:
    return list(site(RequestFactory().get("/")).cookies)


def test_a_users_test_may_override_settings_of_a_site_that_runs() -> None:
    with override_settings(KOALA_PUBLIC_API_KEY="pk_test"):
        site = KoalaMiddleware(page)
        assert cookies(site) == ["ko_id"]
        with override_settings(KOALA_ENABLED=False):
            assert cookies(site) == []
        with override_settings(KOALA_MINT="never"):
            assert cookies(site) == []
        with override_settings(DEBUG=True):
            assert cookies(site) == ["ko_id"]
        assert cookies(site) == ["ko_id"]


def test_a_site_that_keeps_one_response_for_everybody_gives_nobody_anothers_cookie() -> None:
    kept = HttpResponse("hello", headers={"X-Page": "1"})
    kept.set_cookie("theme", "dark")
    before = kept.serialize_headers(), kept.cookies.output()

    with override_settings(KOALA_PUBLIC_API_KEY="pk_test"):
        site: Any = KoalaMiddleware(lambda _: kept)
    first, second = (site(RequestFactory().get("/")) for _ in range(2))
    known = site(RequestFactory().get("/", headers={"cookie": f"ko_id={ADA}"}))

    assert first.cookies["ko_id"].value != second.cookies["ko_id"].value
    assert first.cookies["theme"].value == "dark"
    assert first.content == b"hello"
    assert first.headers["Cache-Control"] == "private"
    assert known is kept
    assert (kept.serialize_headers(), kept.cookies.output()) == before


def test_what_goes_out_for_a_kept_response_is_like_it_and_does_not_outlive_it() -> None:
    class Noted(HttpResponse):
        __slots__ = ("note",)

    class Bare(HttpResponseBase):
        """As Django allows it: it does not even say whether it streams."""

    kept: list[Any] = [Noted("hello"), Bare()]
    kept[0].note = "by a middleware inside"
    with override_settings(KOALA_PUBLIC_API_KEY="pk_test"):
        site: Any = KoalaMiddleware(lambda request: kept[request.path == "/bare"])
    requests = [RequestFactory().get("/"), RequestFactory().get("/bare")]
    answer, bare = map(site, requests)

    assert answer.note == "by a middleware inside"
    assert list(answer.cookies) == list(bare.cookies) == ["ko_id"]
    gone = ref(kept[0])
    kept.clear()
    assert gone() is not None, "gone while its copy was going out"
    requests[0].close()
    requests.clear()
    assert gone() is None


def test_a_stream_is_amended_in_place_since_it_goes_out_once() -> None:
    """What else hangs on the object, a file's clean-up say, is left alone."""
    stream = StreamingHttpResponse([b"hello"])
    with override_settings(KOALA_PUBLIC_API_KEY="pk_test"):
        site: Any = KoalaMiddleware(lambda _: stream)

    assert site(RequestFactory().get("/")) is stream
    assert list(stream.cookies) == ["ko_id"]


def messages(**settings: Any) -> list[tuple[str | None, str, str | None]]:
    with override_settings(**settings):
        return [(it.id, it.msg, it.hint) for it in run_checks() if str(it.id).startswith("koala.")]


def test_the_checks_find_nothing_where_nothing_is_wrong() -> None:
    assert messages(KOALA_PUBLIC_API_KEY="pk_test", MIDDLEWARE=INSTALLED) == []


def test_a_malformed_setting_is_an_error_with_the_way_out() -> None:
    [(check, said, hint)] = messages(
        KOALA_PUBLIC_API_KEY="pk_test", KOALA_COOKIE_DOMAIN="http://example.com", MIDDLEWARE=INSTALLED
    )

    assert check == "koala.E001"
    assert said.startswith("KOALA_COOKIE_DOMAIN: cookie_domain is 'http://example.com'")
    assert hint
    assert "KOALA_COOKIE_DOMAIN" in hint


def test_a_missing_key_is_an_error_with_a_hint() -> None:
    [(_, said, hint)] = messages(MIDDLEWARE=INSTALLED)

    assert said == (
        "KOALA_PUBLIC_API_KEY: public_api_key is missing, expected the key as your workspace shows it, "
        'such as "pk_1a2b3c" (letters, digits and . _ ~ -).'
    )
    assert hint
    assert hint.startswith("Give it as public_api_key=… or as KOALA_PUBLIC_API_KEY")


def test_a_missing_middleware_is_a_warning() -> None:
    [(check, _, hint)] = messages(KOALA_PUBLIC_API_KEY="pk_test", MIDDLEWARE=[])

    assert check == "koala.W001"
    assert hint == 'Put "koala_middleware.django.KoalaMiddleware" first in MIDDLEWARE.'


def test_a_misspelt_setting_is_a_warning_that_names_the_right_one() -> None:
    [(check, said, hint)] = messages(
        KOALA_PUBLIC_API_KEY="pk_test", KOALA_COOKIE_DOMIAN="example.com", MIDDLEWARE=INSTALLED
    )

    assert check == "koala.W002"
    assert said.startswith("KOALA_COOKIE_DOMIAN is not a Koala setting")
    assert hint == "Did you mean KOALA_COOKIE_DOMAIN?"


def rendered(template: str, **context: Any) -> str:
    engine = Engine(libraries={"koala": "koala_middleware.django.templatetags.koala"})
    return engine.from_string("{% load koala %}" + template).render(Context(context))


def test_the_template_tag_is_the_browser_script_of_this_site() -> None:
    with override_settings(KOALA_PUBLIC_API_KEY="pk_test", KOALA_ENDPOINT="https://collector.example.com"):
        assert 'src="https://collector.example.com/v1/pk_test/sdk.js"' in rendered("{% koala_snippet %}")
        assert rendered("{% koala_snippet nonce %}", nonce='a"b').count('nonce="a&#34;b"') == 2


def test_the_template_tag_is_nothing_where_koala_is_off() -> None:
    with override_settings(KOALA_ENABLED=False):
        assert rendered("{% koala_snippet %}") == ""


# A view that does not come to its end


def test_calls_of_a_view_before_its_worker_is_stopped_are_sent(koala_events: RecordedBatches) -> None:
    """As a server's timeout does it, by an exception that is nobody's to answer."""

    def stopped(request: KoalaRequest) -> HttpResponse:
        request.koala.track("Began")
        raise SystemExit(1)

    with override_settings(KOALA_PUBLIC_API_KEY="pk_test"):
        site = KoalaMiddleware(stopped)  # type: ignore[arg-type]  # takes a KoalaRequest
    with pytest.raises(SystemExit):
        site(RequestFactory().get("/"))

    koala_events.assert_tracked("Began")


def test_calls_of_an_async_view_before_its_client_leaves_are_sent(koala_events: RecordedBatches) -> None:
    """Django's ASGI handler cancels it then."""

    async def cancelled(request: KoalaRequest) -> HttpResponse:
        request.koala.track("Began")
        raise asyncio.CancelledError

    async def asked() -> None:
        with override_settings(KOALA_PUBLIC_API_KEY="pk_test"):
            site: Any = KoalaMiddleware(cancelled)  # type: ignore[arg-type]  # as above
        await site(RequestFactory().get("/"))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asked())

    koala_events.assert_tracked("Began")


# Far from the request


def track(name: str) -> None:
    """As code far from the request does it."""
    koala.track(name)


async def in_its_own_thread() -> None:
    await sync_to_async(track)("Far Away")


async def in_any_thread() -> None:
    await sync_to_async(track, thread_sensitive=False)("Far Away")


async def in_a_thread_of_asyncio() -> None:
    await asyncio.to_thread(track, "Far Away")


async def in_a_task() -> None:
    await asyncio.gather(asyncio.create_task(in_any_thread()))


async def there_and_back() -> None:
    await sync_to_async(async_to_sync(in_any_thread))()


EVERYWHERE = pytest.mark.parametrize(
    "somewhere",
    [in_its_own_thread, in_any_thread, in_a_thread_of_asyncio, in_a_task, there_and_back],
    ids=lambda it: it.__name__,
)


@contextmanager
def site_of(view: Any, **settings: Any) -> Iterator[None]:
    """A site of one page, for Django's own test clients."""

    class Urls:
        urlpatterns: ClassVar = [path("", view)]
        handler500 = staticmethod(sorry)

    settings = {"KOALA_PUBLIC_API_KEY": "pk_test", "MIDDLEWARE": INSTALLED, **settings}
    with override_settings(ROOT_URLCONF=Urls, **settings):
        yield


def sorry(request: HttpRequest) -> HttpResponse:
    track("Saw Error Page")
    return HttpResponse("sorry", status=500)


async def asked(client: AsyncClient) -> str:
    response: Any = await client.get("/", headers={"Cookie": f"ko_id={ADA}"})
    if not response.streaming:
        return str(response.content.decode())
    text = "".join([chunk.decode() async for chunk in response])
    response.close()
    return text


@EVERYWHERE
def test_an_async_view_has_the_proxy_wherever_its_work_is_done(
    somewhere: Any, koala_events: RecordedBatches
) -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        await somewhere()
        return HttpResponse("hello")

    with site_of(view):
        assert asyncio.run(asked(AsyncClient())) == "hello"
    koala_events.assert_tracked("Far Away", profile_id=ADA)


@EVERYWHERE
def test_the_stream_that_an_async_view_returns_has_the_proxy(
    somewhere: Any, koala_events: RecordedBatches
) -> None:
    async def view(request: HttpRequest) -> StreamingHttpResponse:
        async def chunks() -> AsyncIterator[str]:
            yield "hello"
            await somewhere()

        return StreamingHttpResponse(chunks())

    with site_of(view):
        assert asyncio.run(asked(AsyncClient())) == "hello"
    koala_events.assert_tracked("Far Away", profile_id=ADA)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_the_500_page_has_the_proxy(is_async: bool, koala_events: RecordedBatches) -> None:
    def failing(request: HttpRequest) -> HttpResponse:
        raise LookupError

    async def failing_async(request: HttpRequest) -> HttpResponse:
        raise LookupError

    with site_of(failing_async if is_async else failing):
        assert asyncio.run(asked(AsyncClient(raise_request_exception=False))) == "sorry"
    koala_events.assert_tracked("Saw Error Page", profile_id=ADA)


def test_a_users_test_of_a_view_finds_what_it_recorded(koala_events: RecordedBatches) -> None:
    def sign_up(request: KoalaRequest) -> HttpResponse:
        request.koala.identify("ada@example.com")
        request.koala.track("Signed Up")
        return HttpResponse("welcome")

    with site_of(sign_up), override_settings(KOALA_ENABLED=True):
        Client().post("/")

    koala_events.assert_tracked("Signed Up", email="ada@example.com")


# Who is signed in, as the app has found out or said


class Ada:
    email = "ada@example.com"
    is_authenticated = True


class OnlyAda:
    """A back end that needs no database."""

    def get_user(self, _: int) -> Ada:
        return Ada()

    async def aget_user(self, _: int) -> Ada:
        return Ada()


BACK_END = f"{OnlyAda.__module__}.{OnlyAda.__qualname__}"
SIGN_IN: dict[str, Any] = {
    "MIDDLEWARE": [
        *INSTALLED,
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    "AUTHENTICATION_BACKENDS": [BACK_END],
    "SESSION_ENGINE": SessionStore.__module__,
    "KOALA_IDENTIFY_USER": True,
}


async def adas_browser_asks() -> str:
    """One request with the cookies of Ada, who is signed in."""
    session = SessionStore()
    session.update({SESSION_KEY: "7", BACKEND_SESSION_KEY: BACK_END})
    client = AsyncClient()
    client.cookies["sessionid"] = str(session._get_session_key())
    client.cookies["ko_id"] = ADA
    response: Any = await client.get("/")
    return str(response.content.decode())


@pytest.mark.parametrize("awaits", [True, False], ids=["auser", "nobody asked"])
def test_a_user_that_the_app_has_awaited_is_identified(awaits: bool, koala_events: RecordedBatches) -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        email = (await request.auser()).email if awaits else ""  # type: ignore[union-attr]  # Ada has one
        return HttpResponse(email)

    with site_of(view, **SIGN_IN):
        said = asyncio.run(adas_browser_asks())

    assert said == (Ada.email if awaits else "")
    assert [(it.profile_id, it.email) for it in koala_events.identified] == (
        [(ADA, Ada.email)] if awaits else []
    )


GRACE: Any = User(pk=8, username="grace", email="grace@example.com")


def signs_in(request: HttpRequest) -> HttpResponse:
    assert request.user.email == Ada.email  # type: ignore[union-attr]  # as above
    login(request, GRACE, BACK_END)
    track("Signed In")
    return HttpResponse()


async def signs_in_async(request: HttpRequest) -> HttpResponse:
    assert (await request.auser()).email == Ada.email  # type: ignore[union-attr]  # as above
    await alogin(request, GRACE, BACK_END)
    track("Signed In")
    return HttpResponse()


@pytest.mark.parametrize("view", [signs_in, signs_in_async], ids=["login", "alogin"])
def test_a_user_who_signs_in_over_anothers_session_is_identified(
    view: Any, koala_events: RecordedBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "save", lambda *_, **__: None)  # of the last login: there is no table
    with site_of(view, **SIGN_IN):
        asyncio.run(adas_browser_asks())

    assert {it.email for it in koala_events} == {"grace@example.com"}
    koala_events.assert_tracked("Signed In", email="grace@example.com", profile_id=ADA)


def signs_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    track("Signed Out")
    return HttpResponse()


async def signs_out_async(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    track("Signed Out")
    return HttpResponse()


@pytest.mark.parametrize("view", [signs_out, signs_out_async], ids=["logout", "alogout"])
def test_a_user_who_has_signed_out_is_not_identified(view: Any, koala_events: RecordedBatches) -> None:
    with site_of(view, **SIGN_IN):
        asyncio.run(adas_browser_asks())

    assert [(it.name, it.profile_id, it.email) for it in koala_events] == [("Signed Out", ADA, None)]


# on_commit, where no atomic() is open


def orders(request: KoalaRequest) -> HttpResponse:
    request.koala.track("Ordered", on_commit=True)
    return HttpResponse("thanks")


async def orders_async(request: KoalaRequest) -> HttpResponse:
    return orders(request)


@pytest.mark.parametrize("view", [orders, orders_async], ids=["sync", "async"])
def test_an_event_on_commit_is_recorded_at_once_without_a_transaction_and_asks_no_database(
    view: Any, koala_events: RecordedBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings["default"], "NAME", "/no/such/folder/db.sqlite3")

    with site_of(view):
        assert asyncio.run(asked(AsyncClient())) == "thanks"

    koala_events.assert_tracked("Ordered", profile_id=ADA)


def test_an_event_on_commit_is_recorded_at_once_where_the_app_commits_by_itself(
    koala_events: RecordedBatches,
) -> None:
    """Django tells nobody of such a commit."""

    def by_itself(request: KoalaRequest) -> HttpResponse:
        transaction.set_autocommit(False)
        try:
            return orders(request)
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)

    with site_of(by_itself):
        assert Client().get("/").content == b"thanks"

    koala_events.assert_tracked("Ordered")


def test_an_event_on_commit_may_come_after_the_response(koala_events: RecordedBatches) -> None:
    kept: list[KoalaContext] = []

    def view(request: KoalaRequest) -> HttpResponse:
        kept.append(request.koala)
        return HttpResponse()

    with site_of(view):
        Client().get("/")
    with transaction.atomic():
        kept[0].track("Shipped", on_commit=True)
        assert not koala_events

    koala_events.assert_tracked("Shipped", profile_id=kept[0].profile_id)


def test_an_event_on_commit_waits_for_the_transactions_of_all_databases(
    koala_events: RecordedBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**connections.settings["default"], "NAME": ":memory:"}
    monkeypatch.setitem(connections.settings, "other", other)
    kept: list[KoalaContext] = []

    def view(request: KoalaRequest) -> HttpResponse:
        kept.append(request.koala)
        return HttpResponse()

    with site_of(view):
        Client().get("/")
    with suppress(RuntimeError), transaction.atomic(using="other"):
        kept[0].track("Rolled Back", on_commit=True)
        raise RuntimeError
    with suppress(RuntimeError), transaction.atomic(using="other"):
        with transaction.atomic():
            kept[0].track("Half Rolled Back", on_commit=True)
        raise RuntimeError
    with transaction.atomic(using="other"):
        with transaction.atomic():
            kept[0].track("Committed", on_commit=True)
        assert not koala_events
    assert [entry.name for entry in koala_events.tracked] == ["Committed"]
    connections["other"].close()


class Substitute:
    """Answers every request with a response of its own, and never closes the app's."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.get_response(request)
        return HttpResponse("instead")


def speaking(request: KoalaRequest) -> HttpResponse:
    request.koala.track("Seen")
    return HttpResponse("hello")


def test_calls_are_sent_though_an_outer_middleware_answers_instead(
    koala_events: RecordedBatches,
) -> None:
    with site_of(speaking, MIDDLEWARE=[f"{__name__}.Substitute", *INSTALLED]):
        assert Client().get("/").content == b"instead"

    koala_events.assert_tracked("Seen")


@pytest.mark.parametrize("view", [page, speaking], ids=["says nothing", "tracks"])
def test_a_cache_outside_that_pickles_the_response_pickles_nothing_of_ours(view: Any) -> None:
    with site_of(view):
        response = KoalaMiddleware(view)(RequestFactory().get("/", headers={"cookie": f"ko_id={ADA}"}))

    assert b"koala_middleware" not in pickle.dumps(response)


@pytest.mark.parametrize("door", ["asgi", "wsgi"])
def test_the_middleware_of_asgi_or_wsgi_apps_is_an_error_that_names_djangos(door: str) -> None:
    found = messages(KOALA_PUBLIC_API_KEY="pk_test", MIDDLEWARE=[f"koala_middleware.{door}.KoalaMiddleware"])

    assert found[0] == (
        "koala.E002",
        f"koala_middleware.{door}.KoalaMiddleware is not a Django middleware.",
        'Put "koala_middleware.django.KoalaMiddleware" in its place.',
    )


def test_a_request_that_did_not_pass_the_middleware_raises_with_a_hint() -> None:
    with override_settings(KOALA_PUBLIC_API_KEY="pk_test"):
        KoalaMiddleware(lambda _: HttpResponse())
    request = RequestFactory().get("/")

    assert not hasattr(request, "koala")
    with pytest.raises(KoalaNotInstalledError, match="first in MIDDLEWARE"):
        _ = request.koala  # type: ignore[attr-defined]  # the wrong call


@pytest.mark.parametrize(
    ("setting", "expected"), [({}, True), ({"KOALA_TRUST_FORWARDED_HOST": False}, False)]
)
def test_use_x_forwarded_host_is_the_default_of_trust_forwarded_host(
    setting: dict[str, bool], expected: bool
) -> None:
    with override_settings(KOALA_PUBLIC_API_KEY="pk_test", USE_X_FORWARDED_HOST=True, **setting):
        assert KoalaMiddleware(lambda _: HttpResponse()).client.config.trust_forwarded_host is expected
