"""From a click in a real browser to the collector: the example sites as `make demo` runs them."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import BrowserContext, Page, Response, expect
from support.waiting import until

DEMO = Path(__file__).parents[3] / "example_apps" / "demo.py"
FRAMEWORKS = ["flask", "django", "fastapi"]
DEADLINE = 15.0  # seconds
PASSWORD = "correct horse battery"

NewBrowser = Callable[[], BrowserContext]
Entry = dict[str, Any]


class Demo:
    """The running demo, as its users see it: URLs, and what the collector answers."""

    def __init__(self, guide: str) -> None:
        self.ports = {
            name.lower(): int(port) for name, port in re.findall(r"(\w+) +http://\S+:(\d+)$", guide, re.M)
        }
        self.collector = f"http://127.0.0.1:{self.ports.pop('collector')}"

    def site(self, framework: str, host: str) -> str:
        return f"http://{host}:{self.ports[framework]}"

    def entries(self, wanted: Callable[[Entry], bool], count: int) -> list[Entry]:
        """At least `count` wanted entries, by the time they were made, as soon as they have arrived."""
        came: list[Entry] = []

        def found() -> list[Entry]:
            came[:] = self._all("entries")
            return [entry for entry in came if wanted(entry)]

        try:
            until(lambda: len(found()) >= count, f"{count} entries", DEADLINE)
        except AssertionError as error:
            error.add_note("\n".join(f"{name_of(one)} {one['profile_id']} {one['email']}" for one in came))
            raise
        return sorted(found(), key=itemgetter("sent_at", "entry_no"))

    def people(self) -> dict[str, Any]:
        return {person["email"]: person for person in self._all("people")}

    def _all(self, what: str) -> list[Entry]:
        answer = requests.get(f"{self.collector}/api/{what}", params={"limit": "1000"}, timeout=DEADLINE)
        found: list[Entry] = answer.json()[what]
        return found


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with subprocess.Popen([sys.executable, str(DEMO)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        guide = ""
        try:
            while "Ctrl-C" not in guide:
                line = process.stdout.readline()
                assert line, f"the demo did not start: status {process.wait()}"
                guide += line
            yield Demo(guide)
        finally:
            process.terminate()
        assert process.wait(60) == 0


# ---- what a visitor does


def opened(page: Page, url: str) -> Response:
    response = page.goto(url)
    assert response is not None
    assert response.ok
    return response


def fill_in(page: Page, url: str, button: str, **fields: str) -> None:
    page.goto(url)
    for label, text in fields.items():
        page.get_by_label(label).fill(text)
    page.locator("main").get_by_role("button", name=button).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^Hello, "))


def sign_up(page: Page, site: str, name: str, email: str) -> None:
    fill_in(page, f"{site}/signup", "Sign up", Name=name, Email=email, Password=PASSWORD)


def log_in(page: Page, site: str, email: str) -> None:
    fill_in(page, f"{site}/login", "Log in", Email=email, Password=PASSWORD)


def log_out(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in")).to_be_visible()


def ko_id(page: Page) -> str:
    (value,) = re.findall(r"\bko_id=([^;]*)", page.evaluate("document.cookie"))
    return str(value)


def name_of(entry: Entry) -> str:
    """One entry in a word or two: `"Signed Up"`, `"identify"`, `"page /pricing"`."""
    if entry["kind"] == "page":
        return f"page {entry['body']['page']['path']}"
    return str(entry["event"] or entry["kind"])


# ---- the script, as it is served


def test_the_browser_script_travels_in_less_than_4_kb(demo: Demo) -> None:
    url = f"{demo.collector}/v1/pk_demo/sdk.js"
    with requests.get(url, headers={"Accept-Encoding": "gzip"}, stream=True, timeout=DEADLINE) as answer:
        assert answer.headers["content-type"].startswith("text/javascript")
        assert len(answer.raw.read(decode_content=False)) < 4096


# ---- one visitor, one framework


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_first_page_gives_a_uuid_on_the_top_domain_and_the_second_page_sets_no_cookie(
    demo: Demo, new_browser: NewBrowser, framework: str
) -> None:
    page = new_browser().new_page()
    site = demo.site(framework, "www.shop.example.test")
    first = opened(page, site)
    (given,) = [line for line in first.header_values("set-cookie") if line.startswith("ko_id=")]
    (cookie,) = [found for found in page.context.cookies() if found["name"] == "ko_id"]
    assert given.split("; ")[0] == f"ko_id={cookie['value']}"
    assert uuid.UUID(cookie["value"]).version == 4
    assert (cookie["domain"], cookie["path"], cookie["sameSite"]) == (".example.test", "/", "Lax")

    second = opened(page, f"{site}/pricing")
    assert [line for line in second.header_values("set-cookie") if line.startswith("ko_id=")] == []
    assert ko_id(page) == cookie["value"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_sign_up_arrives_as_one_identify_and_its_events_under_the_browsers_own_id(
    demo: Demo, new_browser: NewBrowser, framework: str
) -> None:
    page, email = new_browser().new_page(), f"ada@{framework}.example"
    site = demo.site(framework, f"www.{framework}.test")
    opened(page, f"{site}/pricing")
    sign_up(page, site, "Ada", email)
    profile_id = ko_id(page)

    said = demo.entries(lambda entry: entry["profile_id"] == profile_id and entry["kind"] != "page", 3)
    assert [name_of(entry) for entry in said] == ["Viewed Pricing", "identify", "Signed Up"]
    assert said[1]["body"]["traits"] == {"name": "Ada", "plan": "free", "email": email}
    assert {entry["email"] for entry in said} == {email}
    assert demo.people()[email]["profiles"] == [profile_id]

    page.goto(demo.collector)
    expect(page.get_by_text(email).first).to_be_visible()
    expect(page.get_by_text("Signed Up").first).to_be_visible()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_log_out_changes_the_id_and_what_was_said_before_stays_with_the_person(
    demo: Demo, new_browser: NewBrowser, framework: str
) -> None:
    page, email = new_browser().new_page(), f"bea@{framework}.example"
    sign_up(page, demo.site(framework, f"app.{framework}.test"), "Bea", email)
    before = ko_id(page)
    page.get_by_role("button", name="Change to Pro").click()
    expect(page.get_by_text("on the Pro plan")).to_be_visible()
    log_out(page)

    after = ko_id(page)
    assert after != before
    assert uuid.UUID(after).version == 4
    said = demo.entries(lambda entry: entry["profile_id"] == before and entry["kind"] != "page", 5)
    assert [name_of(entry) for entry in said] == [
        "identify",
        "Signed Up",
        "identify",
        "Changed Plan",
        "Logged Out",
    ]
    assert demo.people()[email]["profiles"] == [before]
    assert demo.people()[email]["traits"]["plan"] == "pro"


# ---- two people, two browsers, two sites of one domain


def test_pages_seen_before_a_log_in_become_the_persons_and_the_next_person_gets_none_of_them(
    demo: Demo, new_browser: NewBrowser
) -> None:
    """One person on two browsers is one timeline; another person on one of these browsers is another."""
    www, app = demo.site("flask", "www.eucalypt.test"), demo.site("django", "app.eucalypt.test")
    home, office = new_browser().new_page(), new_browser().new_page()

    opened(home, www)
    opened(home, f"{www}/pricing")
    at_home = ko_id(home)
    anonymous = demo.entries(lambda entry: entry["profile_id"] == at_home, 3)
    assert [name_of(entry) for entry in anonymous] == ["page /", "Viewed Pricing", "page /pricing"]
    assert {entry["email"] for entry in anonymous} == {None}

    sign_up(office, app, "Ada", "ada@eucalypt.test")
    at_office = ko_id(office)
    log_in(home, app, "ada@eucalypt.test")
    assert ko_id(home) == at_home  # one cookie for both sites

    log_out(home)
    after_log_out = ko_id(home)
    opened(home, f"{www}/pricing")  # where localStorage still holds Ada's id
    assert ko_id(home) == after_log_out
    sign_up(home, app, "Bob", "bob@eucalypt.test")
    assert ko_id(home) == after_log_out

    ada = demo.entries(lambda entry: entry["email"] == "ada@eucalypt.test", 12)
    assert [(name_of(entry), entry["profile_id"]) for entry in ada] == [
        ("page /", at_home),
        ("Viewed Pricing", at_home),
        ("page /pricing", at_home),
        ("page /signup", at_office),
        ("identify", at_office),
        ("Signed Up", at_office),
        ("page /account", at_office),
        ("page /login", at_home),
        ("identify", at_home),
        ("Logged In", at_home),
        ("page /account", at_home),
        ("Logged Out", at_home),
    ]
    bob = demo.entries(lambda entry: entry["email"] == "bob@eucalypt.test", 7)
    assert [name_of(entry) for entry in bob] == [
        "page /",  # where the log-out led
        "Viewed Pricing",
        "page /pricing",
        "page /signup",
        "identify",
        "Signed Up",
        "page /account",
    ]
    assert {entry["profile_id"] for entry in bob} == {after_log_out}

    people = demo.people()
    assert set(people["ada@eucalypt.test"]["profiles"]) == {at_home, at_office}
    assert people["bob@eucalypt.test"]["profiles"] == [after_log_out]
    assert people["ada@eucalypt.test"]["traits"]["name"] == "Ada"
