"""Message ids: a repeat counts once, an id that others use as well costs nobody an entry, a page view is completed."""

from __future__ import annotations

from typing import Any

import pytest
from support.collecting import Running, on_both_stores

from koala_middleware.collector.pages.formatting import active_seconds, duration

SAME = "018b2f60-0000-7000-8000-000000000001"
OPENED = {"message_id": SAME, "page": {"path": "/pricing"}, "visit_start": "2026-01-01T10:00:00Z"}
LEFT = {
    **OPENED,
    "visit_end": "2026-01-01T10:05:00Z",
    "focus_intervals": [{"start": "2026-01-01T10:00:00Z", "end": "2026-01-01T10:02:00Z"}],
}


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"event": name, "message_id": SAME, "sent_at": "2026-01-01T10:00:00Z", **more}


def stored(collector: Running) -> list[tuple[str, str | None]]:
    return sorted((each["event"] or each["kind"], each["profile_id"]) for each in collector.entries())


@on_both_stores
@pytest.mark.parametrize("times", [1, 2])
def test_a_message_id_that_another_person_has_used_is_stored_once_for_each(
    collector: Running, times: int
) -> None:
    for _ in range(times):
        for profile_id in ("p1", "p2"):
            collector.send(profile_id=profile_id, events=[entry("Clicked")])
    assert stored(collector) == [("Clicked", "p1"), ("Clicked", "p2")]


@on_both_stores
def test_a_message_id_that_another_kind_has_used_is_stored_once_for_each(collector: Running) -> None:
    for _ in range(2):
        collector.send(
            profile_id="p1",
            email="ada@example.com",
            identifies=[{"message_id": SAME, "traits": {"plan": "pro"}, "sent_at": "2026-01-01T10:00:00Z"}],
            events=[entry("Clicked")],
            page_views=[OPENED],
        )
    assert stored(collector) == [("Clicked", "p1"), ("identify", "p1"), ("page", "p1")]


@on_both_stores
def test_an_id_used_for_two_people_at_once_on_one_browser_spoils_nothing(collector: Running) -> None:
    for name, email in (("One", "ada@example.com"), ("Two", "bob@example.com")):
        answered = collector.send(profile_id="p1", email=email, events=[entry(name)])
        assert answered.status_code == 200
    assert stored(collector) == [("One", "p1"), ("Two", "p1")]


@on_both_stores
def test_a_page_view_that_comes_again_completes_the_stored_one(collector: Running) -> None:
    collector.send(profile_id="p1", email="ada@example.com", page_views=[OPENED])
    collector.send(profile_id="p1", email="ada@example.com", page_views=[LEFT])
    collector.send(profile_id="p1", email="ada@example.com", page_views=[OPENED])

    (shown,) = [each for each in collector.entries() if each["kind"] == "page"]
    assert shown["body"] == LEFT
    assert "/pricing, 2 min" in collector.get("/people/1").text


@on_both_stores
def test_a_page_view_is_completed_within_one_group(collector: Running) -> None:
    collector.send(profile_id="p1", page_views=[OPENED, LEFT])
    (shown,) = collector.entries()
    assert shown["body"] == LEFT


@on_both_stores
def test_an_older_end_of_a_visit_does_not_replace_a_later_one(collector: Running) -> None:
    collector.send(profile_id="p1", page_views=[LEFT])
    collector.send(profile_id="p1", page_views=[{**OPENED, "visit_end": "2026-01-01T10:01:00Z"}])
    assert collector.entries()[0]["body"] == LEFT


@on_both_stores
def test_another_visitor_cannot_complete_a_page_view(collector: Running) -> None:
    collector.send(profile_id="p1", page_views=[OPENED])
    collector.send(profile_id="p2", page_views=[LEFT])
    assert [each["body"] for each in collector.entries()] == [OPENED, LEFT]


@pytest.mark.parametrize(
    ("page_view", "words"),
    [
        ({"visit_start": 1_700_000_000_000, "visit_end": 1_700_000_045_000}, "45 s"),
        ({"focus_intervals": [[1_700_000_000_000, 1_700_000_120_000]]}, "2 min"),
        ({"focus_intervals": "junk", "visit_end": {}}, "0 s"),
    ],
    ids=["open", "in use", "junk"],
)
def test_time_on_a_page_is_said_in_words(page_view: dict[str, Any], words: str) -> None:
    assert duration(active_seconds(page_view)) == words
