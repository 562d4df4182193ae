"""One visitor, one cookie: when it is set, when it is left alone, and what consent holds back."""

from __future__ import annotations

import json

import pytest
from conformance.exchange import Answer
from conformance.sites import Site

from koala_middleware.testing import Collector

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
GRACE = "7d444840-9dc0-41d1-b245-5ffdce74fad2"


def ko_id(answer: Answer) -> str | None:
    cookie = answer.cookies.get("ko_id")
    return cookie.value if cookie else None


# Set, and not set


def test_the_apps_own_cookies_survive_beside_ours(site: Site) -> None:
    answer = site.reply(headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; HttpOnly; Path=/")])

    own = [header for header in answer.all("Set-Cookie") if not header.startswith("ko_id=")]
    assert [header.partition(";")[0] for header in own] == ["a=1", "b=2"]
    assert "HttpOnly" in own[1]
    assert ko_id(answer)


def test_an_app_that_sets_ko_id_itself_is_left_alone(site: Site) -> None:
    answer = site.reply(headers=[("Set-Cookie", f"ko_id={GRACE}; Path=/")])

    assert [header.partition(";")[0] for header in answer.all("Set-Cookie")] == [f"ko_id={GRACE}"]


@pytest.mark.parametrize("said", ["public, max-age=60", "s-maxage=600", "max-age=3600"])
def test_a_response_that_a_shared_cache_may_keep_carries_no_cookie(site: Site, said: str) -> None:
    answer = site.reply(headers=[("Cache-Control", said)])

    assert ko_id(answer) is None
    assert answer.all("Cache-Control") == [said]


@pytest.mark.parametrize("said", ["private", "no-store", "private, max-age=60", "no-cache"])
def test_a_response_that_is_the_visitors_own_carries_the_cookie(site: Site, said: str) -> None:
    answer = site.reply(headers=[("Cache-Control", said)])

    assert ko_id(answer)
    assert "private" in ", ".join(answer.all("Cache-Control")) or "no-store" in said or "no-cache" in said


def test_a_response_without_cache_headers_becomes_private_with_its_cookie(site: Site) -> None:
    assert site.get("/").all("Cache-Control") == ["private"]
    assert site.get("/", cookie=f"ko_id={ADA}").all("Cache-Control") == []


@pytest.mark.koala(exclude_paths=["/health", "/static/*"])
def test_excluded_paths_carry_no_cookie(site: Site) -> None:
    assert ko_id(site.get("/health")) is None
    assert ko_id(site.get("/static/site.css")) is None
    assert ko_id(site.get("/pricing"))


@pytest.mark.parametrize("status", [200, 201, 204, 302, 404, 500])
def test_every_final_response_may_carry_the_cookie(site: Site, status: int) -> None:
    assert ko_id(site.reply(status=status, body="", headers=[("Location", "/")]))


def test_a_confirmed_copy_in_a_cache_carries_no_cookie(site: Site) -> None:
    assert ko_id(site.reply(status=304, body="")) is None


SUB_RESOURCE = {"sec_fetch_site": "same-origin", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}
SAME_SITE_FETCH = {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}
CROSS_SITE_POST = {
    "sec_fetch_site": "cross-site",
    "sec_fetch_mode": "navigate",
    "sec_fetch_dest": "document",
}


def test_a_page_load_carries_the_cookie_and_what_it_loads_does_not(site: Site) -> None:
    page = {"sec_fetch_site": "none", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert ko_id(site.get("/", **page))
    assert ko_id(site.get("/", **SUB_RESOURCE)) is None
    assert ko_id(site.get("/", sec_purpose="prefetch", **page)) is None
    assert ko_id(site.ask("OPTIONS", "/")) is None


def test_a_fetch_carries_the_cookie_only_where_the_handler_used_koala(site: Site) -> None:
    assert ko_id(site.get("/", **SAME_SITE_FETCH)) is None
    assert ko_id(site.get("/pricing", **SAME_SITE_FETCH))


def test_another_sites_form_does_not_change_who_the_visitor_is(site: Site) -> None:
    assert ko_id(site.post("/pricing", **CROSS_SITE_POST)) is None
    assert ko_id(site.post("/pricing", origin="https://bank.example.net")) is None


@pytest.mark.koala(mint="never")
def test_where_ids_are_not_minted_an_email_alone_goes_out(site: Site, koala_collector: Collector) -> None:
    answer = site.post("/signup")

    [batch] = koala_collector.wait_for(1)
    assert ko_id(answer) is None
    assert batch["email"] == "ada@example.com"
    assert "profile_id" not in batch


@pytest.mark.koala(cookie_domain="shop.example.com", cookie_secure=True)
def test_domain_and_secure_are_as_set(site: Site) -> None:
    cookie = site.get("/", host="www.shop.example.com").cookies["ko_id"]

    assert cookie["domain"].lstrip(".") == "shop.example.com"
    assert cookie["secure"]


@pytest.mark.koala(cookie_refresh=True)
def test_a_page_load_may_renew_the_visitors_cookie(site: Site) -> None:
    page = {"sec_fetch_site": "same-origin", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}

    assert ko_id(site.get("/", cookie=f"ko_id={ADA}", **page)) == ADA
    assert ko_id(site.get("/", cookie=f"ko_id={ADA}", **SUB_RESOURCE)) is None


@pytest.mark.parametrize(
    "host", ["", "a b", "evil.com; HttpOnly", "[::1", "x" * 300, "127.0.0.1:80", "localhost"]
)
def test_a_doubtful_host_gets_a_host_only_cookie_and_no_error(site: Site, host: str) -> None:
    answer = site.get("/", host=host)

    # Some servers and frameworks refuse such a host themselves, and may do so before they ask us.
    assert answer.status == site.bare(site.question("GET", "/", host=host)).status
    assert [cookie["domain"] for cookie in answer.cookies.values()] in ([""], [])
    assert ko_id(answer) or answer.status in {400, 500}


@pytest.mark.parametrize(
    "cookie",
    [f"bad=[(; ko_id={ADA}", f'q="; ko_id={ADA}', f"ko_id=broken; ko_id={ADA}", f"a=1,ko_id={ADA}"],
)
def test_the_first_well_formed_id_is_read_whatever_its_neighbours(site: Site, cookie: str) -> None:
    answer = site.get("/who-am-i", cookie=cookie)

    assert json.loads(answer.body)["profile_id"] == ADA
    assert ko_id(answer) is None


# Consent

asks: pytest.MarkDecorator = pytest.mark.koala(consent="consent_by_header")


@asks
def test_without_consent_there_is_no_cookie_and_nothing_is_sent(
    site: Site, koala_collector: Collector
) -> None:
    answer = site.post("/signup", x_consent="none")

    site.drained()
    assert (answer.status, answer.body) == (200, b"welcome")
    assert ko_id(answer) is None
    assert koala_collector.batches == []


@asks
def test_anonymous_consent_sends_events_without_email_and_traits(
    site: Site, koala_collector: Collector
) -> None:
    answer = site.post("/signup", x_consent="anonymous")

    [batch] = koala_collector.wait_for(1)
    assert batch["profile_id"] == ko_id(answer)
    assert [event["event"] for event in batch["events"]] == ["Created Account"]
    assert "email" not in batch
    assert "identifies" not in batch
    assert "ada@" not in json.dumps(batch)


@asks
def test_full_consent_sends_everything(site: Site, koala_collector: Collector) -> None:
    site.post("/signup", x_consent="full")

    koala_collector.wait_for(1)
    koala_collector.events.assert_identified("ada@example.com", name="Ada")


@pytest.mark.only(interface="asgi")
@pytest.mark.koala(consent="consent_by_header_async")
def test_the_rule_may_be_async_where_the_app_is(site: Site, koala_collector: Collector) -> None:
    refused = site.post("/signup", x_consent="none")
    allowed = site.post("/signup", x_consent="full")

    site.drained()
    assert ko_id(refused) is None
    assert {batch["profile_id"] for batch in koala_collector.batches} == {ko_id(allowed)}


@pytest.mark.koala(consent="consent_that_raises")
def test_a_consent_function_that_raises_counts_as_none_and_is_logged_once(
    site: Site, koala_collector: Collector
) -> None:
    answers = [site.post("/signup") for _ in range(2)]

    site.drained()
    assert [(answer.status, ko_id(answer)) for answer in answers] == [(200, None)] * 2
    assert koala_collector.batches == []
    site.complains("the consent function raised")  # Litestar writes its log in a thread of its own
    assert site.log().count("the consent function raised") == 1


@pytest.mark.koala(honor_gpc=True)
def test_the_browsers_opt_out_counts_as_none(site: Site, koala_collector: Collector) -> None:
    refused = site.post("/signup", sec_gpc="1")
    allowed = site.post("/signup")

    site.drained()
    assert ko_id(refused) is None
    assert {batch["profile_id"] for batch in koala_collector.batches} == {ko_id(allowed)}


@asks
def test_the_accept_button_releases_what_was_held(site: Site, koala_collector: Collector) -> None:
    answer = site.post("/accept-cookies", x_consent="none")

    koala_collector.wait_for(1)
    assert ko_id(answer)
    assert [event.name for event in koala_collector.events.tracked] == ["Saw Banner", "Accepted"]


@pytest.mark.koala(consent="consent_by_header", clear_on_withdrawal=True)
def test_withdrawn_consent_deletes_the_cookie(site: Site) -> None:
    answer = site.get("/", cookie=f"ko_id={ADA}", x_consent="none")

    deleted = [header for header in answer.all("Set-Cookie") if header.startswith("ko_id=")]
    assert len(deleted) == 2  # the domain's, and a host-only one
    assert all("Max-Age=0" in header for header in deleted)
