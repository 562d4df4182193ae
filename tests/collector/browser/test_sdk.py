"""The browser script, in a real Chromium against a real server: what it sets, what it sends, and when."""

from __future__ import annotations

import gzip
import html
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import BrowserContext, Page

from koala_middleware.collector.receiving.browser_script import script_source

if TYPE_CHECKING:
    from collector.browser.conftest import BrowserEndpoint

Cookies = Callable[[Page], list[dict[str, Any]]]

SDK = Path(__file__).parents[3] / "koala_middleware" / "collector" / "receiving" / "sdk.js"
SOMEBODY = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
SOMEBODY_ELSE = "7b1d9a50-6c2e-4f3b-9d1a-0e5f4c3b2a19"
YEAR = 365 * 24 * 3600


def ready(page: Page, url: str) -> Page:
    """Opens a page and waits until its script has started and heard from the endpoint."""
    page.goto(url)
    page.evaluate("new Promise(resolve => ko.ready(resolve))")
    return page


def remembered(page: Page) -> str | None:
    found: str | None = page.evaluate("localStorage.getItem('ko_id')")
    return found


def set_cookie(page: Page, value: str, domain: str = ".example.test") -> None:
    page.context.add_cookies([{"name": "ko_id", "value": value, "domain": domain, "path": "/"}])


def is_version_4(text: str) -> bool:
    return str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4


def test_the_script_is_smaller_than_4_kb_when_compressed() -> None:
    assert len(gzip.compress(script_source(), 6)) < 4096


# ---- the cookie


def test_a_first_visit_gets_one_id_for_a_year_on_the_top_domain(
    page: Page, endpoint: BrowserEndpoint, ko_ids: Cookies
) -> None:
    ready(page, endpoint.at("www.shop.example.test"))
    (cookie,) = ko_ids(page)
    assert is_version_4(cookie["value"])
    assert cookie["value"] == remembered(page)
    assert (cookie["domain"], cookie["path"], cookie["sameSite"]) == (".example.test", "/", "Lax")
    assert (cookie["httpOnly"], cookie["secure"]) == (False, False)
    assert cookie["expires"] == pytest.approx(time.time() + YEAR, abs=600)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        pytest.param("a.b.example.co.uk", ".example.co.uk", id="below a suffix of two labels"),
        pytest.param("koala.github.io", ".koala.github.io", id="below a private suffix"),
        pytest.param("github.io", "github.io", id="on a public suffix: host-only"),
        pytest.param("www.koala.localhost", ".koala.localhost", id="below localhost"),
        pytest.param("intranet", "intranet", id="a single label: host-only"),
        pytest.param("127.0.0.1", "127.0.0.1", id="an address: host-only"),
    ],
)
def test_the_cookie_covers_the_widest_domain_the_browser_allows(
    page: Page, endpoint: BrowserEndpoint, ko_ids: Cookies, host: str, domain: str
) -> None:
    ready(page, endpoint.at(host))
    assert [cookie["domain"] for cookie in ko_ids(page)] == [domain]
    assert page.evaluate("document.cookie").startswith("ko_id=")  # and nothing is left of the probing


def test_a_cookie_from_the_server_is_kept_as_it_is(
    page: Page, endpoint: BrowserEndpoint, ko_ids: Cookies
) -> None:
    endpoint.headers["Set-Cookie"] = (
        f"ko_id={SOMEBODY.upper()}; Domain=example.test; Path=/; Max-Age=1000; SameSite=Lax"
    )
    ready(page, endpoint.at())
    (cookie,) = ko_ids(page)
    assert cookie["value"] == remembered(page) == SOMEBODY.upper()
    assert cookie["expires"] == pytest.approx(time.time() + 1000, abs=100)


def test_the_first_well_formed_cookie_counts_and_a_malformed_one_is_replaced(
    page: Page, endpoint: BrowserEndpoint, ko_ids: Cookies
) -> None:
    set_cookie(page, "not-an-id", "www.shop.example.test")
    set_cookie(page, SOMEBODY)
    assert ready(page, endpoint.at()).evaluate("ko.profile_id") == SOMEBODY

    page.context.clear_cookies()
    page.evaluate("localStorage.clear()")
    set_cookie(page, str(uuid.UUID(int=0)))
    ready(page, endpoint.at())
    (cookie,) = ko_ids(page)
    assert is_version_4(cookie["value"])


def test_a_logout_also_replaces_an_older_host_only_cookie(
    page: Page, endpoint: BrowserEndpoint, ko_ids: Cookies
) -> None:
    set_cookie(page, SOMEBODY, "www.shop.example.test")
    ready(page, endpoint.at()).evaluate("ko.reset()")
    (cookie,) = ko_ids(page)
    assert cookie["value"] == page.evaluate("ko.profile_id") != SOMEBODY
    assert cookie["domain"] == ".example.test"


def test_local_storage_restores_a_lost_cookie(page: Page, endpoint: BrowserEndpoint, ko_ids: Cookies) -> None:
    before = ready(page, endpoint.at()).evaluate("ko.profile_id")
    page.context.clear_cookies()
    ready(page, endpoint.at())
    assert [cookie["value"] for cookie in ko_ids(page)] == [before]


def test_a_cookie_changed_by_the_server_or_a_sister_site_wins_over_local_storage(
    page: Page, endpoint: BrowserEndpoint, ko_ids: Cookies
) -> None:
    ready(page, endpoint.at("www.example.test"))
    ready(page, endpoint.at("app.example.test")).evaluate("ko.reset()")
    (after_logout,) = ko_ids(page)
    ready(page, endpoint.at("www.example.test"))
    assert ko_ids(page) == [after_logout]
    assert remembered(page) == after_logout["value"]


def test_the_endpoints_answer_becomes_the_id(page: Page, endpoint: BrowserEndpoint, ko_ids: Cookies) -> None:
    endpoint.profile_id = SOMEBODY
    ready(page, endpoint.at())
    assert [cookie["value"] for cookie in ko_ids(page)] == [SOMEBODY]
    assert remembered(page) == SOMEBODY


def test_a_logout_during_the_bootstrap_is_not_undone_by_its_answer(
    page: Page, endpoint: BrowserEndpoint, ko_ids: Cookies
) -> None:
    endpoint.hold_bootstrap.clear()
    page.goto(endpoint.at())
    page.wait_for_function("window.ko && ko.loaded")
    before = page.evaluate("ko.profile_id")
    page.evaluate("ko.reset()")
    endpoint.hold_bootstrap.set()
    page.evaluate("new Promise(resolve => ko.ready(resolve))")
    (cookie,) = ko_ids(page)
    assert cookie["value"] != before


def test_where_cookies_and_storage_are_forbidden_one_id_lasts_as_long_as_the_page(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    endpoint.html = f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(endpoint.snippet())}"></iframe>'
    page.goto(endpoint.at())
    frame = page.frames[1]
    frame.wait_for_function("window.ko && ko.loaded")
    # A sandboxed document may not even read document.cookie.
    assert frame.evaluate("ko.track('Played') === ko")
    assert [event["event"] for event in endpoint.entries("events", 1)] == ["Played"]
    assert {batch["profile_id"] for batch in endpoint.batches} == {frame.evaluate("ko.profile_id")}


# ---- page views


def test_each_page_and_each_address_within_a_page_is_one_view(page: Page, endpoint: BrowserEndpoint) -> None:
    ready(page, endpoint.at(path="/?utm_source=news&q=1"))
    page.evaluate("history.pushState({}, '', '/two'); document.title = 'Two'")
    page.evaluate("history.replaceState({}, '', '/two')")  # the same address: no view
    endpoint.entries("page_views", 2)
    page.go_back()
    first, second, third = endpoint.entries("page_views", 3)
    assert first["page"] == {
        "path": "/",
        "url": endpoint.at(path="/?utm_source=news&q=1"),
        "host": f"www.shop.example.test:{endpoint.port}",
        "referrer": "",
        "title": "Shop",
        "utm": {"source": "news"},
    }
    assert (second["page"]["path"], second["page"]["title"]) == ("/two", "Two")
    assert second["page"]["referrer"] == first["page"]["url"]
    assert third["page"]["path"] == "/"


def test_every_entry_says_when_it_was_made_and_carries_its_own_id(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    ready(page, endpoint.at()).evaluate("ko.identify('ada@example.com'); ko.track('One'); ko.track('Two')")
    endpoint.entries("events", 2)
    entries = [
        entry
        for batch in endpoint.batches
        for kind in ("identifies", "events", "page_views")
        for entry in batch[kind]
    ]
    assert len(entries) == len({entry["message_id"] for entry in entries}) == 4
    assert all(is_version_4(entry["message_id"]) for entry in entries)
    assert all(entry["sent_at"].endswith("Z") and len(entry["sent_at"]) == 24 for entry in entries)


# ---- calls


def test_calls_made_before_the_script_is_loaded_are_replayed_in_order(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    first, script = endpoint.snippet().splitlines()
    early = "<script>ko.identify('ada@example.com', {name: 'Ada'}).track('One').track('Two', {n: 2})</script>"
    endpoint.html = first + early + script
    page.goto(endpoint.at())
    assert [(event["event"], event["properties"]) for event in endpoint.entries("events", 2)] == [
        ("One", {}),
        ("Two", {"n": 2}),
    ]
    (batch,) = endpoint.batches
    assert batch["email"] == "ada@example.com"
    assert [identify["traits"] for identify in batch["identifies"]] == [
        {"name": "Ada", "email": "ada@example.com"}
    ]


def test_a_page_written_for_another_queue_keeps_working(page: Page, endpoint: BrowserEndpoint) -> None:
    queue = (
        "<script>window.ko=[];['track','on','off'].forEach("
        "n => ko[n] = (...given) => {ko.push([n, ...given]); return ko})</script>"
    )
    script = endpoint.snippet().splitlines()[1]
    endpoint.html = queue + "<script>ko.on('initialized', () => 1); ko.track('One')</script>" + script
    page.goto(endpoint.at())
    assert [event["event"] for event in endpoint.entries("events", 1)] == ["One"]
    assert page.evaluate("ko.off('initialized') === ko")


def test_loading_the_script_twice_is_loading_it_once(page: Page, endpoint: BrowserEndpoint) -> None:
    endpoint.html = endpoint.snippet() * 2
    ready(page, endpoint.at()).evaluate("ko.track('One')")
    endpoint.entries("events", 1)
    assert sum(len(batch["page_views"]) for batch in endpoint.batches) == 1


def test_identify_with_nothing_new_is_not_sent_again(page: Page, endpoint: BrowserEndpoint) -> None:
    ready(page, endpoint.at()).evaluate("ko.identify('ada@example.com', {plan: 'free'})")
    page.goto(endpoint.at(path="/next"))
    page.evaluate("ko.identify('ada@example.com', {plan: 'free'})")  # known
    page.evaluate("ko.identify({plan: 'pro'}); ko.track('Last')")
    endpoint.entries("events", 1)
    assert [identify["traits"] for identify in endpoint.entries("identifies", 2)] == [
        {"plan": "free", "email": "ada@example.com"},
        {"plan": "pro"},
    ]


def test_after_a_log_out_nothing_of_the_next_person_is_mixed_with_the_last(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    ready(page, endpoint.at())
    page.evaluate("ko.identify('ada@example.com'); ko.track('Ada was here')")
    page.evaluate("ko.reset(); ko.identify('bob@example.com'); ko.track('Bob was here')")
    endpoint.entries("events", 2)
    ada, bob = [batch for batch in endpoint.batches if batch["events"]]
    assert (ada["email"], [event["event"] for event in ada["events"]]) == (
        "ada@example.com",
        ["Ada was here"],
    )
    assert (bob["email"], [event["event"] for event in bob["events"]]) == (
        "bob@example.com",
        ["Bob was here"],
    )
    assert ada["profile_id"] != bob["profile_id"]


def test_two_people_without_a_log_out_between_them_are_never_in_one_request(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    ready(page, endpoint.at()).evaluate("ko.identify('ada@example.com'); ko.identify('bob@example.com')")
    endpoint.entries("identifies", 2)
    named = [batch["email"] for batch in endpoint.batches if batch["identifies"]]
    assert named == ["ada@example.com", "bob@example.com"]


def test_a_log_out_on_the_server_is_seen_by_a_page_that_is_still_open(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    ready(page, endpoint.at()).evaluate("ko.track('Before')")
    set_cookie(page, SOMEBODY_ELSE)
    page.evaluate("ko.track('After')")
    endpoint.entries("events", 2)
    assert [batch["profile_id"] for batch in endpoint.batches if batch["events"]][1] == SOMEBODY_ELSE
    assert remembered(page) == SOMEBODY_ELSE


def test_qualify_resolves_to_what_the_endpoint_knows(page: Page, endpoint: BrowserEndpoint) -> None:
    answer = ready(page, endpoint.at()).evaluate("ko.qualify('ada@example.com')")
    assert answer == {"profile_id": remembered(page), "q": True, "a": {}}


def test_what_cannot_be_sent_is_said_on_the_console_and_breaks_nothing(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    ready(page, endpoint.at())
    with page.expect_console_message() as said:
        assert page.evaluate(
            "const loop = {}; loop.loop = loop; ko.track('Round', loop).track('Straight') === ko"
        )
    assert said.value.text.startswith("koala: track was not sent:")
    assert [event["event"] for event in endpoint.entries("events", 1)] == ["Straight"]


def test_changes_after_the_call_have_no_effect_on_it(page: Page, endpoint: BrowserEndpoint) -> None:
    ready(page, endpoint.at()).evaluate("const cart = {items: 1}; ko.track('Bought', cart); cart.items = 0")
    assert [event["properties"] for event in endpoint.entries("events", 1)] == [{"items": 1}]


def test_a_text_cut_within_an_emoji_is_sent_as_every_reader_takes_it(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    ready(page, endpoint.at()).evaluate(
        r"const cut = '\\ud8 \u{1f600}\u{1f600}'.slice(0, -1); ko.track('Said', {[cut]: cut})"
    )
    said = "\\ud8 \U0001f600\ufffd"
    assert [event["properties"] for event in endpoint.entries("events", 1)] == [{said: said}]


# ---- delivery


def test_no_request_holds_more_than_30_of_a_kind_and_their_order_stays(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    ready(page, endpoint.at()).evaluate("for (let n = 0; n < 75; n++) ko.track('Click', {n})")
    assert [event["properties"]["n"] for event in endpoint.entries("events", 75)] == list(range(75))
    assert [len(batch["events"]) for batch in endpoint.batches if batch["events"]] == [30, 30, 15]


def test_a_batch_is_plain_text_so_that_no_preflight_is_needed(page: Page, endpoint: BrowserEndpoint) -> None:
    ready(page, endpoint.at())
    endpoint.entries("page_views", 1)
    (request,) = [request for request in endpoint.requests if request.path.endswith("/batch")]
    assert request.headers["content-type"] == "text/plain;charset=UTF-8"
    assert "cookie" not in request.headers


@pytest.mark.parametrize("status", [503, 429])
def test_a_batch_that_cannot_be_taken_now_is_sent_again_with_the_same_ids(
    page: Page, endpoint: BrowserEndpoint, status: int
) -> None:
    endpoint.statuses = [status, status]
    ready(page, endpoint.at())
    first, second, third = endpoint.wait(lambda batches: len(batches) == 3)
    assert first == second == third


def test_a_refused_batch_is_said_on_the_console_and_not_sent_again(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    endpoint.statuses = [400]
    with page.expect_console_message(lambda message: message.text.startswith("koala:")) as said:
        ready(page, endpoint.at())
    assert said.value.text.endswith("refused a batch with status 400")
    page.evaluate("ko.track('Next')")
    refused, taken = endpoint.wait(lambda batches: len(batches) == 2)
    assert (len(refused["page_views"]), len(taken["page_views"]), len(taken["events"])) == (1, 0, 1)


def test_entries_of_a_page_that_is_left_are_delivered(page: Page, endpoint: BrowserEndpoint) -> None:
    ready(page, endpoint.at()).evaluate(
        "addEventListener('pagehide', () => ko.track('Too late to tell'), {capture: true});"
        "ko.track('Last'); location.href = 'about:blank'"
    )
    page.wait_for_url("about:blank")
    endpoint.wait(lambda batches: "Last" in [sent["event"] for batch in batches for sent in batch["events"]])


def test_a_page_that_is_left_delivers_more_than_one_request_holds(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    ready(page, endpoint.at()).evaluate(
        "for (let n = 0; n < 75; n++) ko.track('Click', {n}); location.href = 'about:blank'"
    )
    page.wait_for_url("about:blank")
    assert len(endpoint.entries("events", 75)) == 75


def test_koala_settings_can_send_elsewhere_than_where_the_script_came_from(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    settings = f"<script>window.koalaSettings = {{host: '{endpoint.at('elsewhere.test', '')}/'}}</script>"
    endpoint.html = settings + endpoint.snippet()
    ready(page, endpoint.at())
    endpoint.entries("page_views", 1)
    assert {request.host for request in endpoint.requests} == {"elsewhere.test"}


def test_global_privacy_control_is_honored_where_the_site_says_so(
    new_browser: Callable[[], BrowserContext], endpoint: BrowserEndpoint, ko_ids: Cookies
) -> None:
    context = new_browser()
    context.add_init_script("Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})")
    page = context.new_page()
    endpoint.html = "<script>window.koalaSettings = {honorGpc: true}</script>" + endpoint.snippet()
    ready(page, endpoint.at()).evaluate("ko.identify('ada@example.com').track('One').reset()")
    assert (ko_ids(page), remembered(page), page.evaluate("ko.profile_id")) == ([], None, None)
    page.goto("about:blank")
    assert endpoint.requests == []


# ---- time on a page, forms


def test_a_page_view_is_sent_again_with_the_time_it_was_in_use(page: Page, endpoint: BrowserEndpoint) -> None:
    ready(page, endpoint.at())
    (opened,) = endpoint.entries("page_views", 1)
    assert "visit_end" not in opened
    page.goto(endpoint.at(path="/next"))

    def completed(batches: list[dict[str, Any]]) -> bool:
        views = [view for batch in batches for view in batch["page_views"]]
        return any(view["message_id"] == opened["message_id"] and "visit_end" in view for view in views)

    views = [view for batch in endpoint.wait(completed) for view in batch["page_views"]]
    *_, left = [view for view in views if view["message_id"] == opened["message_id"] and "visit_end" in view]
    assert left["visit_start"] == opened["visit_start"]
    assert left["sent_at"] == opened["sent_at"]
    ((start, end),) = left["focus_intervals"]
    assert start < end


def test_a_submitted_form_is_recorded_by_its_fields_names_where_that_is_switched_on(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    form = (
        '<form id="newsletter" onsubmit="return false"><input name="who" value="Ada Lovelace">'
        '<input name="mail" type="email" value="ada@example.com"><button>Send</button></form>'
    )
    for switched_on in (False, True):
        on = "<script>window.koalaSettings = {forms: true}</script>" if switched_on else ""
        endpoint.html = on + form + endpoint.snippet()
        ready(page, endpoint.at()).get_by_role("button").click()
    (submitted,) = endpoint.entries("events", 1)
    assert submitted["event"] == "Form Submitted"
    assert submitted["properties"] == {
        "form": "newsletter",
        "fields": ["who", "mail"],
        "email": "ada@example.com",
    }
    assert "Lovelace" not in str(endpoint.batches)


def test_ready_is_a_promise_and_the_user_has_an_id(page: Page, endpoint: BrowserEndpoint) -> None:
    ready(page, endpoint.at())
    assert page.evaluate("ko.ready(() => {}).then(() => ko.user.id())") == page.evaluate("ko.profile_id")


@pytest.mark.parametrize("junk", ["{", "null", "3"])
def test_junk_in_storage_does_not_stop_identify(page: Page, endpoint: BrowserEndpoint, junk: str) -> None:
    ready(page, endpoint.at())
    page.evaluate("junk => sessionStorage.setItem('ko_said', junk)", junk)
    page.evaluate("ko.identify('ada@example.com', {plan: 'pro'})")
    (identify,) = endpoint.entries("identifies", 1)
    assert identify["traits"] == {"plan": "pro", "email": "ada@example.com"}
