"""What a job records belongs to the visitor who caused it: on every queue, with a real worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jobs.conftest import Collector, Site


def test_an_event_in_a_job_is_its_visitors(site: Site, collector: Collector) -> None:
    profile_id = site.enqueue("record", x_login="ada@example.com")

    (clicked,) = collector.wait_for("Clicked", profile_id=profile_id)
    (sent,) = collector.wait_for("Invoice Sent", profile_id=profile_id)

    assert sent["email"] == clicked["email"] == "ada@example.com"


def test_a_job_enqueued_by_a_job_is_the_same_visitors(site: Site, collector: Collector) -> None:
    profile_id = site.enqueue("hand_on")

    collector.wait_for("Invoice Sent", profile_id=profile_id)


def test_what_a_failing_job_said_is_delivered(site: Site, collector: Collector) -> None:
    profile_id = site.enqueue("fail")

    collector.wait_for("Invoice Failed", profile_id=profile_id)


def test_a_job_that_nobody_caused_has_no_visitor(site: Site, collector: Collector) -> None:
    """Also right after one that somebody caused: nothing of a visitor stays in a worker."""
    site.enqueue("record")
    site.enqueue_beside("look")

    looked = collector.wait_for("Looked", email=f"{site.queue}@example.com")

    assert {entry["body"]["properties"]["seen"] for entry in looked} == {"no context"}


def test_anonymous_consent_goes_along_with_the_job(site: Site, collector: Collector) -> None:
    profile_id = site.enqueue("record", x_login="grace@example.com", x_consent="anonymous")

    (sent,) = collector.wait_for("Invoice Sent", profile_id=profile_id)

    assert sent["email"] is None


def test_a_visitor_who_allowed_nothing_stays_unknown_in_the_job(site: Site, collector: Collector) -> None:
    profile_id = site.enqueue("record", x_consent="none")
    site.enqueue("record")
    later = site.enqueue("record")

    collector.wait_for("Invoice Sent", profile_id=later)  # the worker takes one job after the other

    assert profile_id not in {entry["profile_id"] for entry in collector.entries()}


@pytest.mark.parametrize("site", ["on_celery", "on_rq", "on_dramatiq", "on_huey"], indirect=True)
def test_a_job_tried_again_is_still_its_visitors(site: Site, collector: Collector) -> None:
    profile_id = site.enqueue("retry")

    tries = collector.wait_for("Tried", number=2, profile_id=profile_id)

    assert [entry["body"]["properties"]["retries"] for entry in tries] == [0, 1]


@pytest.mark.parametrize("site", ["on_dramatiq", "on_huey"], indirect=True)
def test_the_next_job_of_a_pipeline_is_the_same_visitors(site: Site, collector: Collector) -> None:
    profile_id = site.enqueue("pipeline")

    collector.wait_for("Followed", profile_id=profile_id)


@pytest.mark.parametrize("site", ["on_celery"], indirect=True)
def test_a_celery_task_still_sees_the_sites_own_headers(site: Site, collector: Collector) -> None:
    profile_id = site.enqueue("headers")

    (seen,) = collector.wait_for("Headers Seen", profile_id=profile_id)

    assert seen["body"]["properties"] == {"tenant": "acme"}


@pytest.mark.parametrize("site", ["on_django"], indirect=True)
def test_an_async_django_task_is_its_visitors(site: Site, collector: Collector) -> None:
    profile_id = site.enqueue("awaited")

    collector.wait_for("Awaited", profile_id=profile_id)
