"""One person, one profile: the subject of a batch, whatever happens to ids in an exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.profiling import just_as

from koala_middleware import KoalaContext

if TYPE_CHECKING:
    from identity.conftest import Site

ID = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
BROUGHT = {"cookie": f"ko_id={ID}"}
IMAGE = {"sec_fetch_site": "same-origin", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}
FOREIGN_POST = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


def test_what_a_new_visitor_does_goes_under_the_id_they_are_given(site: Site) -> None:
    site.handler = lambda koala: koala.track("Arrived")

    answer = site.get()

    assert site.delivery.said == [(answer.ko_id, None, ["Arrived"])]


def test_calls_before_the_identify_belong_to_the_same_person(site: Site) -> None:
    def sign_up(koala: KoalaContext) -> None:
        koala.track("Saw Form")
        koala.identify("ada@example.com")
        koala.track("Signed Up")

    site.handler = sign_up
    site.get(**BROUGHT)

    assert site.delivery.said == [(ID, "ada@example.com", ["identify", "Saw Form", "Signed Up"])]


def test_a_second_email_closes_the_first_persons_batch_and_opens_another(site: Site) -> None:
    def two(koala: KoalaContext) -> None:
        koala.identify("ada@example.com")
        koala.track("One")
        koala.identify("Bob@example.com")
        koala.track("Two")
        koala.identify("bob@example.com", {"plan": "pro"})

    site.handler = two
    site.get(**BROUGHT)

    assert site.delivery.said == [
        (ID, "ada@example.com", ["identify", "One"]),
        (ID, "Bob@example.com", ["identify", "identify", "Two"]),
    ]


def test_reset_begins_a_new_visitor_with_a_new_cookie(site: Site) -> None:
    def log_out(koala: KoalaContext) -> None:
        koala.identify("ada@example.com")
        koala.track("Logged Out")
        koala.reset()
        koala.track("Saw Goodbye")

    site.handler = log_out
    answer = site.get(**BROUGHT)

    assert answer.ko_id not in {None, ID}
    assert site.delivery.said == [
        (ID, "ada@example.com", ["identify", "Logged Out"]),
        (answer.ko_id, None, ["Saw Goodbye"]),
    ]


@pytest.mark.parametrize(
    "headers", [IMAGE, FOREIGN_POST, {"sec_purpose": "prefetch"}], ids=["image", "foreign post", "prefetch"]
)
@pytest.mark.parametrize("brought", [BROUGHT, {}], ids=["with cookie", "without"])
def test_reset_sets_its_cookie_whatever_the_request_is(
    site: Site, headers: dict[str, str], brought: dict[str, str]
) -> None:
    """A single log-out can be another site's post; with the old cookie the next person would be the last."""
    site.handler = lambda koala: koala.reset()

    answer = site(mint="never", exclude_paths=["/"]).request("POST", **headers, **brought)

    assert answer.ko_id not in {None, ID}


def test_reset_in_a_response_that_a_shared_cache_may_store_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def log_out(koala: KoalaContext) -> list[tuple[str, str]]:
        koala.reset()
        return [("Cache-Control", "public, max-age=60")]

    site.handler = log_out
    answer = site.get(**BROUGHT)

    assert answer.set_cookies == []
    assert "reset()" in caplog.text


def test_reset_without_consent_deletes_the_old_cookie_and_sets_no_new_one(site: Site) -> None:
    site.handler = lambda koala: koala.reset()

    answer = site(consent=lambda _: "none").get(**BROUGHT)

    assert [cookie.partition(";")[0].strip('"') for cookie in answer.set_cookies] == ["ko_id=", "ko_id="]


@pytest.mark.parametrize("headers", [IMAGE, FOREIGN_POST], ids=["image", "foreign post"])
def test_an_id_that_cannot_last_gives_way_to_the_email(site: Site, headers: dict[str, str]) -> None:
    def pay(koala: KoalaContext) -> None:
        koala.track("Paid")
        koala.identify("ada@example.com")

    site.handler = pay
    site.request("POST", **headers)

    assert site.delivery.said == [(None, "ada@example.com", ["identify", "Paid"])]


def test_an_id_that_cannot_last_is_used_where_there_is_no_email(site: Site) -> None:
    kept: list[KoalaContext] = []

    def pay(koala: KoalaContext) -> None:
        koala.track("Paid")
        kept.append(koala)

    site.handler = pay
    site.request("POST", **FOREIGN_POST)

    ((profile_id, email, said),) = site.delivery.said
    assert (profile_id, email, said) == (kept[0].profile_id, None, ["Paid"])
    assert kept[0].is_new
    assert not kept[0].cookie_set


def test_an_id_that_came_stays_with_the_email_even_on_an_image(site: Site) -> None:
    site.handler = lambda koala: koala.identify("ada@example.com")

    site.get(**IMAGE, **BROUGHT)

    assert site.delivery.said == [(ID, "ada@example.com", ["identify"])]


def test_calls_after_the_exchange_still_belong_to_its_person(site: Site) -> None:
    kept: list[KoalaContext] = []

    def sign_up(koala: KoalaContext) -> None:
        koala.identify("ada@example.com")
        kept.append(koala)

    site.handler = sign_up
    answer = site.get()
    kept[0].track("Welcome Mail Sent")

    assert site.delivery.said == [
        (answer.ko_id, "ada@example.com", ["identify"]),
        (answer.ko_id, "ada@example.com", ["Welcome Mail Sent"]),
    ]


def test_a_call_by_a_thread_just_as_the_exchange_ends_is_not_lost(site: Site) -> None:
    """After what was said has been taken, and before it is known that nobody will take any more."""
    kept: list[KoalaContext] = []
    site.handler = kept.append

    with just_as(KoalaContext._end, lambda: kept[0].track("Said")):
        site.get(**BROUGHT)

    assert site.delivery.said == [(ID, None, ["Said"])]


def test_an_untouched_exchange_sends_nothing(site: Site) -> None:
    site.get()
    site.get(**BROUGHT)

    assert site.delivery.batches == []
