"""The Set-Cookie header, and that nothing else of the app's response changes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from identity.conftest import Site

    from koala_middleware import KoalaContext

ID = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
UUID4 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_the_cookie_lasts_a_year_on_the_whole_domain_and_is_open_to_the_pixel(site: Site) -> None:
    (cookie,) = site.get().set_cookies

    value, *attributes = cookie.split("; ")
    assert UUID4.fullmatch(value.removeprefix("ko_id="))
    assert sorted(attributes) == ["Domain=example.com", "Max-Age=31536000", "Path=/", "SameSite=Lax"]


def test_cookie_secure_adds_secure_and_nothing_else(site: Site) -> None:
    (cookie,) = site(cookie_secure=True).get().set_cookies

    _, *attributes = cookie.split("; ")
    assert sorted(attributes) == [
        "Domain=example.com",
        "Max-Age=31536000",
        "Path=/",
        "SameSite=Lax",
        "Secure",
    ]


def test_the_cookie_is_added_to_the_apps_own(site: Site) -> None:
    site.handler = lambda _: [("Set-Cookie", "session=1"), ("X-Own", "2"), ("Cache-Control", "no-store")]

    answer = site.get()

    assert [value.partition(";")[0] for value in answer.values("set-cookie")] == [
        "session=1",
        answer.set_cookies[0][:42],
    ]
    assert answer.values("x-own") == ["2"]
    assert answer.values("cache-control") == ["no-store"]
    assert answer.body == b"the app's own answer"


@pytest.mark.parametrize("own", [ID, ""], ids=["an id", "a deletion"])
def test_a_ko_id_that_the_app_sets_itself_is_left_alone(site: Site, own: str) -> None:
    site.handler = lambda _: [("Set-Cookie", f"ko_id={own}; Path=/")]

    answer = site.get()

    (cookie,) = answer.set_cookies
    assert cookie.replace('"', "") == f"ko_id={own}; Path=/"
    assert answer.values("cache-control") == []


def test_an_answer_without_our_cookie_is_untouched(site: Site) -> None:
    site.handler = lambda _: [("X-Own", "1"), ("Set-Cookie", "a=1")]

    answer = site.get(cookie=f"ko_id={ID}")

    assert [(name, value.partition(";")[0]) for name, value in answer.headers] == [
        ("x-own", "1"),
        ("set-cookie", "a=1"),
    ]
    assert answer.body == b"the app's own answer"


def test_is_new_and_cookie_set_tell_the_handler(site: Site) -> None:
    seen: list[KoalaContext] = []
    site.handler = seen.append

    site.get()
    site.get(cookie=f"ko_id={ID}")
    site.get(sec_fetch_dest="image", sec_fetch_mode="no-cors", sec_fetch_site="same-origin")

    assert [(koala.is_new, koala.cookie_set) for koala in seen] == [
        (True, True),
        (False, False),
        (True, False),
    ]


def test_switched_off_nothing_is_set_sent_or_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    def handler(koala: KoalaContext) -> None:
        koala.identify("no address")
        koala.identify("ada@example.com", {"name": "Ada"})
        koala.track("Logged In")
        koala.reset()
        seen.append(koala.enabled)

    asked: list[object] = []

    site.handler = handler
    answer = site(enabled="0", public_api_key="", consent=asked.append).get(cookie="ko_id=broken")

    assert seen == [False]
    assert asked == []
    assert answer.headers == []
    assert answer.body == b"the app's own answer"
    assert site.delivery.batches == []
    assert site.delivery.drops == {}
    assert caplog.records == []
