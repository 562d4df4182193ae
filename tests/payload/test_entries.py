"""How one call becomes one entry: cleaned and encoded alone, within its limit."""

from __future__ import annotations

import json
from typing import Any
from uuid import RFC_4122, UUID

import pytest

from koala_middleware.payload.drafts import Call
from koala_middleware.payload.entries import build_entry, timestamp
from koala_middleware.payload.scrub.scrubber import scrub
from koala_middleware.payload.values.cleaner import MASK, Cleaner, plain
from koala_middleware.payload.values.conversions import ITEMS
from koala_middleware.payload.values.truncation import ENTRY_BYTES
from koala_middleware.protocol.batches import EntryKind
from koala_middleware.protocol.subjects import Person

AT = 1_668_038_234_776_000_000
SENT_AT = "2022-11-09T23:57:14.776Z"
PAGE = {"page": {"path": "/pricing", "title": ""}, "locale": "en"}


def said(call: Call, context: dict[str, Any] = PAGE, clean: Cleaner = scrub) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(build_entry(call, json.dumps(context), clean).body)
    return written


def track(name: str = "Paid", message_id: str | None = None, **properties: Any) -> Call:
    return Call(Person("p"), "track", name, properties, AT, message_id)


def test_an_entrys_own_id_stays_since_it_tells_events_apart() -> None:
    card = "4111111111111111"
    assert said(track(message_id=card, message_id_of_card=card)) == {
        "type": "track",
        "event": "Paid",
        "message_id": card,
        "sent_at": SENT_AT,
        "properties": {"message_id_of_card": MASK},
        "context": PAGE,
    }


def test_a_call_without_an_id_gets_one_that_sorts_by_the_time_of_the_call() -> None:
    first, second = track(), track()._replace(at=AT + 300)  # nanoseconds
    ids = [UUID(said(call)["message_id"]) for call in (second, first)]
    assert ids[0] > ids[1]
    assert {(one.version, one.variant, one.int >> 80) for one in ids} == {(7, RFC_4122, AT // 1_000_000)}


def test_a_call_from_before_the_epoch_has_an_id_all_the_same() -> None:
    entry = said(track()._replace(at=-1))
    assert entry["sent_at"] == "1969-12-31T23:59:59.999Z"
    assert UUID(entry["message_id"]).int >> 80 == 0


@pytest.mark.parametrize("name", ["Paid", "Paid by 4111 1111 1111 1111", "x" * 300, "naïve 🐨", '"'])
def test_a_name_is_cleaned_as_all_texts_are_each_time(name: str) -> None:
    for clean in (plain, scrub, plain):
        assert said(track(name), clean=clean)["event"] == clean(name)


def test_a_calls_own_context_is_added_to_what_the_request_tells() -> None:
    call = track()._replace(context={"locale": "de", "password": "hunter2"})
    assert said(call)["context"] == {**PAGE, "locale": "de", "password": MASK}
    assert said(track())["context"] == PAGE


def test_a_page_view_says_its_own_title_and_properties_in_the_requests_page() -> None:
    view = said(Call(Person("p"), "page", "Pricing", {"section": "plans", "path": "/p"}, AT, "1"))
    assert view == {
        "message_id": "1",
        "page": {"path": "/p", "title": "Pricing", "section": "plans"},
        "visit_start": SENT_AT,
        "context": PAGE,
    }


@pytest.mark.parametrize("kind", ["identify", "track", "page"])
def test_what_was_left_out_is_marked_in_the_entry_itself(kind: EntryKind) -> None:
    many = {str(number): number for number in range(ITEMS + 1)}
    written = said(Call(Person("p"), kind, None, many, AT))
    assert written["$truncated"] is True
    assert "$truncated" not in {**written.get("traits", {}), **written.get("properties", {})}


def test_an_entry_is_cut_to_its_limit_with_the_largest_values_first() -> None:
    call = track(plan="pro", **{f"text {number}": "x" * 8_000 for number in range(10)})
    body = build_entry(call, json.dumps(PAGE), plain).body
    written = json.loads(body)
    assert len(body) <= ENTRY_BYTES
    assert (written["event"], written["properties"]["plan"], written["context"]) == ("Paid", "pro", PAGE)
    assert written["$truncated"] is True


def test_a_property_of_the_marks_name_stays_the_handlers() -> None:
    assert said(track(**{"$truncated": "a little"}))["properties"] == {"$truncated": "a little"}


def test_a_time_is_utc_in_milliseconds() -> None:
    assert said(track()._replace(at=1_668_038_234_776_999_999))["sent_at"] == "2022-11-09T23:57:14.776Z"
    assert timestamp(1_668_038_234_776) == SENT_AT
    assert timestamp(-1) == "1969-12-31T23:59:59.999Z"
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
