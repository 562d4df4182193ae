"""Pages in a real browser: what arrives is seen, and nothing that was stored runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from support.chromium import somebodys_browser
from support.collecting import Running, Serve, event, on_both_stores

from koala_middleware.collector.pages import views

EVIL = '</script></title></pre><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\'"{{7*7}}'


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Page]:
    with somebodys_browser(chromium) as context:
        yield context.new_page()


@on_both_stores
def test_new_entries_appear_on_the_open_page_with_their_person(collector: Running, tab: Page) -> None:
    tab.goto(collector.url)
    expect(tab.locator("#empty")).to_contain_text("Nothing has arrived yet")
    expect(tab.locator("#empty")).to_contain_text(f'endpoint="{collector.url}"')
    expect(tab.locator("#pulse")).to_have_text("listening")

    collector.send(
        profile_id="p1", email="ada@example.com", events=[event("Signed Up", properties={"plan": "pro"})]
    )
    first = tab.locator("#stream .entry").first
    expect(first).to_contain_text("Signed Up")
    expect(first).to_contain_text("ada@example.com")
    expect(first).to_contain_text("pro")
    expect(tab.locator("#empty")).to_be_hidden()

    collector.send(profile_id="p1", events=[{}])
    expect(tab.locator("#stream .trouble").first).to_contain_text("events[0].event is missing")


def test_the_stream_pauses_and_catches_up(collector: Running, tab: Page) -> None:
    tab.goto(collector.url)
    expect(tab.locator("#pulse")).to_have_text("listening")
    tab.keyboard.press("p")
    expect(tab.locator("#pulse")).to_have_text("paused")
    collector.send(profile_id="p1", events=[event("Meanwhile")])
    expect(tab.locator("#stream .entry")).to_have_count(0)
    tab.keyboard.press("p")
    expect(tab.locator("#stream .entry")).to_have_count(1)


@on_both_stores
def test_live_can_be_narrowed_to_a_kind_an_event_or_a_person(collector: Running, tab: Page) -> None:
    collector.send(profile_id="p1", email="ada@example.com", events=[event("One"), event("Two")])
    collector.send(profile_id="p2", events=[event("One")], page_views=[{"page": {"path": "/"}}])
    for query, count in (("", 4), ("kind=page", 1), ("event=One", 2), ("person=ada@example.com", 2)):
        tab.goto(f"{collector.url}/?{query}")
        expect(tab.locator("#stream .entry")).to_have_count(count)
    expect(tab.locator("#pulse")).to_have_text("listening")
    collector.send(profile_id="p1", events=[event("Hers")])
    collector.send(profile_id="p2", events=[event("Not hers")])
    expect(tab.locator("#stream .entry").first).to_contain_text("Hers")


@on_both_stores
def test_live_shows_a_persons_rare_kind_behind_many_of_another(collector: Running) -> None:
    seen = {"page": {"path": "/pricing"}, "visit_start": "2026-01-01T10:00:00Z"}
    collector.send(
        profile_id="p1", email="ada@example.com", page_views=[seen], events=[event("Rare", "2026-01-01")]
    )
    for _ in range(9):
        collector.send(profile_id="p1", events=[event("Often") for _ in range(30)])
    assert "/pricing" in collector.get("/?person=ada@example.com&kind=page").text
    assert "Rare" in collector.get("/?person=ada@example.com&event=Rare").text.partition('id="stream"')[2]
    assert "/pricing" not in collector.get("/?person=ada@example.com&kind=track").text


@on_both_stores
def test_a_persons_page_begins_with_the_first_anonymous_page_view(collector: Running, tab: Page) -> None:
    visit = {"message_id": "v1", "page": {"path": "/pricing"}, "visit_start": "2026-01-01T10:00:00Z"}
    collector.send(profile_id="laptop", page_views=[visit])
    signed_up = event("Signed Up", "2026-01-01T11:00:00Z")
    collector.send(profile_id="laptop", email="ada@example.com", events=[signed_up])
    collector.send(
        profile_id="phone", email="ada@example.com", events=[event("Logged In", "2026-01-02T10:00:00Z")]
    )

    tab.goto(f"{collector.url}/people")
    tab.get_by_text("ada@example.com").click()
    rows = tab.locator(".timeline .entry .what strong")
    assert rows.all_inner_texts() == ["Logged In", "Signed Up", "/pricing"]
    expect(tab.locator(".moment")).to_have_count(2)


def test_pages_are_walked_by_keyboard(collector: Running, tab: Page) -> None:
    collector.send(profile_id="p1", events=[event("Clicked")])
    tab.goto(collector.url)
    tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    expect(tab.locator(".entry pre").first).to_be_visible()
    tab.keyboard.press("2")
    expect(tab).to_have_url(f"{collector.url}/people")
    tab.keyboard.press("/")
    expect(tab.locator("[data-search]")).to_be_focused()


@on_both_stores
def test_stored_text_never_runs_as_script(serve: Serve, tab: Page) -> None:
    collector = serve()
    blocked: list[str] = []
    tab.on("console", lambda message: blocked.append(message.text))
    tab.on("dialog", lambda dialog: pytest.fail(dialog.message))
    tab.goto(collector.url)  # an open stream gets it, too
    expect(tab.locator("#pulse")).to_have_text("listening")
    collector.send(
        profile_id=EVIL[:120],
        email="ada@example.com",
        traits={
            "name": EVIL,
            EVIL: EVIL,
            "$account": {"domain": "acme.example", "group_id": EVIL, EVIL: EVIL},
        },
        events=[event(EVIL, properties={EVIL: EVIL}, context={"userAgent": EVIL})],
        page_views=[{"page": {"path": EVIL, "url": "javascript:alert(1)", "title": EVIL, "referrer": EVIL}}],
    )
    collector.send(profile_id=EVIL[:100], events=[event(EVIL)])
    collector.send_account(account_id=EVIL, identifies=[{"traits": {EVIL: EVIL}}], events=[event(EVIL)])
    collector.post(f"/web/projects/{EVIL.replace('/', '')}/batch", data=EVIL, headers={"User-Agent": EVIL})

    expect(tab.locator("#stream .entry")).not_to_have_count(0)
    assert tab.evaluate("window.pwned") is None, "the stream"
    entries = [f"/requests/{number}" for number in range(1, 5)]
    for path in [
        "/",
        "/people",
        "/people/1",
        "/accounts",
        "/accounts/1",
        "/accounts/2",
        "/accounts/3",
        "/visitors/2",
        "/events",
        "/health",
        f"/people?q={EVIL}",
        f"/?event={EVIL}&person={EVIL}",
        *entries,
    ]:
        tab.goto(collector.url + path, wait_until="load")
        assert tab.evaluate("window.pwned") is None, path
        assert tab.locator("img[src=x], body script").count() == 0, f"markup got through on {path}"
    assert not [line for line in blocked if "Content Security Policy" in line], "nothing even tried"


def test_pages_come_with_a_strict_policy(collector: Running) -> None:
    for path in ("/", "/people", "/events", "/health", "/login"):
        headers = collector.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


@on_both_stores
def test_empty_pages_show_the_lines_to_paste(serve: Serve) -> None:
    collector = serve(keys=["pk_mine"])
    for path in ("/", "/people", "/accounts", "/events"):
        page = collector.get(path).text
        assert "pk_mine" in page, path
        assert collector.url in page, path
        assert f"&lt;script async src=&#34;{collector.url}/v1/pk_mine/sdk.js&#34;&gt;" in page, path


@on_both_stores
def test_accounts_say_how_many_there_are_and_are_paged(
    collector: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "ACCOUNTS", 2)
    for number in range(5):
        collector.send_account(domain=f"company{number}.example", events=[event("x")])
    first = collector.get("/accounts").text
    assert "1 to 2 of 5" in first
    assert "/accounts?q=&amp;from=2" in first
    last = collector.get("/accounts?from=4").text
    assert "5 to 5 of 5" in last
    assert "More accounts" not in last


def test_a_timeline_has_each_day_of_the_readers_time_zone_once(collector: Running, chromium: Browser) -> None:
    for hour in ("05:00", "20:00"):  # one day in UTC, two days in Los Angeles
        collector.send(
            profile_id="p1", email="ada@example.com", events=[event("x", f"2026-01-02T{hour}:00Z")]
        )
    collector.send(profile_id="p1", events=[event("x", "2026-01-03T05:00:00Z")])
    with somebodys_browser(chromium, timezone_id="America/Los_Angeles", locale="en-US") as context:
        page = context.new_page()
        page.goto(f"{collector.url}/people/1")
        assert page.locator(".day").all_inner_texts() == [
            "Friday, January 2, 2026",
            "Thursday, January 1, 2026",
        ]


def test_a_person_is_shown_by_name_and_with_whole_traits(collector: Running) -> None:
    story = "A long story. " * 20
    collector.send(email="x@example.com", identifies=[{"traits": {"name": "Ada Lovelace", "story": story}}])
    page = collector.get("/people/1").text
    assert '<span class="value">' + story in page
    assert 'aria-hidden="true">AL<' in page
