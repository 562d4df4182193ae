"""Consent: asked before the handler, changed by it, and its effect on the cookie and the batch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from koala_middleware import KoalaClient, KoalaConfigError, KoalaContext
from koala_middleware.asgi import KoalaMiddleware as AsgiMiddleware
from koala_middleware.wsgi import KoalaMiddleware as WsgiMiddleware

if TYPE_CHECKING:
    from identity.conftest import Site

ID = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
BROUGHT = {"cookie": f"ko_id={ID}"}


def log_in(koala: KoalaContext) -> None:
    koala.identify("ada@example.com", {"name": "Ada"})
    koala.track("Logged In")


@pytest.mark.parametrize("answer", ["full", True])
def test_full_sends_everything(site: Site, answer: object) -> None:
    site.handler = log_in

    site(consent=lambda _: answer).get(**BROUGHT)

    assert site.delivery.said == [(ID, "ada@example.com", ["identify", "Logged In"])]
    assert site.delivery.drops == {}


def test_anonymous_sends_events_without_email_and_traits(site: Site) -> None:
    site.handler = log_in

    answer = site(consent=lambda _: "anonymous").get()

    assert site.delivery.said == [(answer.ko_id, None, ["Logged In"])]
    assert site.delivery.drops == {"consent": 1}


@pytest.mark.parametrize("answer", ["none", False, None, "perhaps", 1, []])
def test_anything_else_sends_nothing_and_sets_nothing(site: Site, answer: object) -> None:
    site.handler = log_in

    response = site(consent=lambda _: answer).get()

    assert response.set_cookies == []
    assert response.values("cache-control") == []
    assert site.delivery.said == []
    assert site.delivery.drops == {"consent": 2}


def test_without_consent_a_cookie_that_is_there_stays_unless_it_is_to_be_cleared(site: Site) -> None:
    assert site(consent=lambda _: "none").get(**BROUGHT).set_cookies == []


def test_clear_on_withdrawal_deletes_the_domains_cookie_and_its_host_only_twin(site: Site) -> None:
    answer = site(consent=lambda _: "none", clear_on_withdrawal=True).get(**BROUGHT)

    attributes = [sorted(cookie.split("; ")[1:]) for cookie in answer.set_cookies]
    assert attributes == [
        ["Domain=example.com", "Max-Age=0", "Path=/", "SameSite=Lax"],
        ["Max-Age=0", "Path=/", "SameSite=Lax"],
    ]
    assert answer.values("cache-control") == ["private"]


def test_clear_on_withdrawal_deletes_nothing_where_a_shared_cache_may_keep_the_answer(site: Site) -> None:
    site.handler = lambda _: [("Cache-Control", "public")]

    assert site(consent=lambda _: "none", clear_on_withdrawal=True).get(**BROUGHT).set_cookies == []


def test_clear_on_withdrawal_leaves_visitors_who_consent_and_those_without_a_cookie(site: Site) -> None:
    assert site(consent=lambda _: "full", clear_on_withdrawal=True).get(**BROUGHT).set_cookies == []
    assert site(consent=lambda _: "none", clear_on_withdrawal=True).get().set_cookies == []


def test_the_browsers_own_signal_counts_as_none_where_it_is_honored(site: Site) -> None:
    site.handler = log_in

    assert site(honor_gpc=True).get(sec_gpc="1").set_cookies == []
    assert site.delivery.said == []
    assert len(site(honor_gpc=True).get(sec_gpc="0").set_cookies) == 1
    assert len(site(honor_gpc=False).get(sec_gpc="1").set_cookies) == 1


def test_the_consent_function_sees_path_headers_and_every_cookie(site: Site) -> None:
    seen: list[Any] = []

    def consent(request: Any) -> str:
        seen.append((request.method, request.path, request.header("X-Region"), dict(request.cookies)))
        return "full"

    site(consent=consent).request("POST", "/préférences", x_region="EU", cookie="cmp=yes; theme=dark")

    assert seen == [("POST", "/préférences", "EU", {"cmp": "yes", "theme": "dark"})]


def test_a_consent_function_that_raises_counts_as_none_and_is_logged_once_without_its_message(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def consent(request: object) -> str:
        raise LookupError("no record of ada@example.com")

    site.handler = log_in
    site(consent=consent)

    assert site.get().set_cookies == []
    assert site.get().body == b"the app's own answer"
    assert site.delivery.said == []
    (record,) = caplog.records
    assert "LookupError" in record.getMessage()
    assert "ada@" not in record.getMessage()


def test_the_accept_button_takes_effect_at_once(site: Site) -> None:
    """What was held in this exchange is released, what comes after is sent, and the cookie is set."""

    def accept(koala: KoalaContext) -> None:
        koala.track("Saw Banner")
        koala.flush()
        koala.consent("full")
        koala.track("Accepted")

    site.handler = accept
    fetch = {"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}

    answer = site(consent=lambda _: "none").request("POST", "/accept", **fetch)

    assert answer.ko_id is not None
    assert site.delivery.said == [(answer.ko_id, None, ["Saw Banner", "Accepted"])]


def test_accepting_is_use_enough_for_a_fetch_to_set_the_cookie(site: Site) -> None:
    site.handler = lambda koala: koala.consent(True)
    fetch = {"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}

    assert len(site(consent=lambda _: False).request("POST", **fetch).set_cookies) == 1


def test_a_withdrawal_in_the_handler_drops_earlier_calls(site: Site) -> None:
    def withdraw(koala: KoalaContext) -> None:
        koala.track("Opened Settings")
        koala.consent("none")

    site.handler = withdraw

    answer = site(clear_on_withdrawal=True).get(**BROUGHT)

    assert site.delivery.said == []
    assert site.delivery.drops == {"consent": 1}
    assert len(answer.set_cookies) == 2


@pytest.mark.parametrize(
    ("level", "sent", "drops"), [("anonymous", [(ID, None, ["Late"])], 1), ("none", [], 2)]
)
def test_calls_after_the_exchange_need_the_same_consent(
    site: Site, level: str, sent: list[Any], drops: int
) -> None:
    kept: list[KoalaContext] = []
    site.handler = kept.append
    site(consent=lambda _: level).get(**BROUGHT)

    kept[0].identify("ada@example.com")
    kept[0].track("Late")

    assert site.delivery.said == sent
    assert site.delivery.drops == {"consent": drops}


def test_a_withdrawal_after_the_exchange_holds_from_then_on(site: Site) -> None:
    """In a background task: what comes later is not sent, until it is allowed again."""
    kept: list[KoalaContext] = []
    site.handler = kept.append
    site.get(**BROUGHT)
    koala = kept[0]

    koala.track("Allowed")
    koala.consent("none")
    koala.track("Forbidden")
    koala.consent("anonymous")
    koala.identify("ada@example.com")
    koala.track("Nameless")

    assert site.delivery.said == [(ID, None, ["Allowed"]), (ID, None, ["Nameless"])]
    assert site.delivery.drops == {"consent": 2}


class AsyncRule:
    async def __call__(self, _: object) -> str:
        return "full"


async def async_rule(request: object) -> str:
    await asyncio.sleep(0)
    return "full"


@pytest.mark.parametrize("rule", [async_rule, AsyncRule()], ids=["a function", "an object"])
def test_an_async_consent_function_stops_an_app_that_cannot_await_it_at_start(site: Site, rule: Any) -> None:
    if site.framework == "ASGI":
        site(consent=rule)
        return
    with pytest.raises(KoalaConfigError, match=r"^consent is an async function, expected a plain one"):
        site(consent=rule)


def test_an_awaitable_from_a_plain_function_counts_as_none_under_wsgi(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = KoalaClient(public_api_key="pk_test", consent=lambda _: AsyncRule()(None), delivery="off")

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    started: list[Any] = []
    WsgiMiddleware(app, client)({"PATH_INFO": "/"}, lambda *head: started.append(head))  # type: ignore[arg-type]

    assert started == [("200 OK", [])]
    assert "awaitable" in caplog.text


def test_an_async_consent_function_is_awaited_in_asgi_apps() -> None:
    client = KoalaClient(public_api_key="pk_test", consent=async_rule, delivery="off")
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(AsgiMiddleware(app, client)(scope, None, send))  # type: ignore[arg-type]  # receives nothing

    assert any(name == b"set-cookie" for name, _ in sent[0]["headers"])


def test_consent_takes_three_words_and_two_truths(site: Site) -> None:
    refusals: list[str] = []

    def handler(koala: KoalaContext) -> None:
        try:
            koala.consent("perhaps")  # type: ignore[arg-type]  # what the test is about
        except ValueError as error:
            refusals.append(str(error))

    site.handler = handler
    site.get()

    assert refusals == ['consent() takes "full", "anonymous" or "none", not \'perhaps\'']
