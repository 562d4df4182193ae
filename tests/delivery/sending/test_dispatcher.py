"""What delivery does about each answer of a real endpoint."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.stats import adds_up

from koala_middleware.delivery import Delivery, DeliveryEvent
from koala_middleware.delivery.outbox.inspection import refused_entries
from koala_middleware.delivery.sending import dispatcher, threads
from koala_middleware.protocol.batches import Batch

Deliver = Callable[..., Delivery]
MakeBatch = Callable[..., Batch]
Eventually = Callable[..., None]
Endpoint = Any  # conftest.py's; reaches tests as a fixture


@pytest.fixture(params=["http", "curl"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["plain", "bulk"])
def offered(request: pytest.FixtureRequest, endpoint: Endpoint) -> None:
    endpoint.bulk = request.param == "bulk"


# Where many people wait it holds for endpoints that take bulk as it does for others.
in_bulk_too = pytest.mark.usefixtures("offered")


def test_a_batch_arrives_in_the_protocols_shape(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    delivery = deliver(user_agent="shop/1.0")
    delivery.put(batch("ada", 1))
    assert endpoint.wait_for_posts(1)
    [post] = endpoint.posts
    assert (post.path, post.user_agent) == ("/web/projects/pk_test/batch", "shop/1.0")
    assert post.body["profile_id"] == "ada"
    assert post.ids == ["1"]


def test_one_person_within_the_flush_interval_is_one_post(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    delivery = deliver(flush_interval=20)
    for number in range(5):
        delivery.put(batch("ada", number))
    assert endpoint.wait_for_posts(1)
    assert endpoint.posts[0].ids == ["0", "1", "2", "3", "4"]


def test_a_visitor_who_is_idle_for_an_eightieth_of_the_flush_interval_is_not_waited_for(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    put_at = time.monotonic()
    deliver(flush_interval=20).put(batch("ada", 1))
    assert endpoint.wait_for_posts(1, 10)
    assert endpoint.posts[0].at - put_at >= 20 / 80


def test_entries_of_a_visitor_who_goes_on_and_on_leave_when_the_flush_interval_is_over(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    """Each entry makes the wait an eightieth of it longer, but never longer than the interval."""
    delivery = deliver(flush_interval=1)
    began = time.monotonic()
    for number in count():
        delivery.put(batch("ada", number))
        if endpoint.wait_for_posts(1, 0.005):
            break
    assert endpoint.posts[0].at - began < 10
    assert len(endpoint.posts[0].ids) == len(set(endpoint.posts[0].ids))


def test_what_came_during_a_post_goes_out_as_soon_as_it_is_answered(
    endpoint: Endpoint,
    deliver: Deliver,
    batch: MakeBatch,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not when the thread that watches would have looked again."""
    monkeypatch.setattr(dispatcher, "TEND", 600)
    delivery = deliver(concurrency=2)
    asked, answer = threading.Event(), threading.Event()

    def slowly(body: dict[str, Any]) -> Any:
        if body["profile_id"] == "ada" and not asked.is_set():
            asked.set()
            answer.wait(20)
        return 200, {}, {}

    endpoint.reply = slowly
    delivery.put(batch("ada", 1))
    assert asked.wait(20)
    delivery.put(batch("ada", 2))  # starts the second thread, which has nothing to do yet
    delivery.put(batch("grace", 3))
    eventually(lambda: delivery.stats().delivered == 1 and somebody_naps())
    answer.set()
    assert endpoint.wait_for_posts(3)
    assert endpoint.taken == ["3", "1", "2"]


def somebody_naps() -> bool:
    """A delivery thread waits for its bell."""
    return any(frame.f_code is threads.Bell.wait.__code__ for frame in sys._current_frames().values())


@in_bulk_too
def test_connections_are_kept(endpoint: Endpoint, deliver: Deliver, batch: MakeBatch) -> None:
    delivery = deliver(concurrency=1)
    for number in range(20):
        delivery.put(batch(f"person-{number}", number))
    assert delivery.flush(10).complete
    assert (len(endpoint.posts), endpoint.connections) == (20, 1)


@in_bulk_too
def test_different_people_go_in_parallel_and_one_person_in_order(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    everyone = threading.Barrier(4)

    def reply(body: dict[str, Any]) -> Any:
        if body["events"][0]["message_id"] == "first":
            everyone.wait(10)  # passes only if four requests are here at once
        return 200, {}, {}

    endpoint.reply = reply
    delivery = deliver(concurrency=4)
    for person in range(4):
        delivery.put(batch(f"person-{person}", "first"))
    for number in range(60):
        delivery.put(batch("person-0", number))
    assert delivery.flush(20).complete
    ids = [id_ for post in endpoint.posts if post.body["profile_id"] == "person-0" for id_ in post.ids]
    assert ids == ["first", *map(str, range(60))]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_is_not_taken_now_is_sent_again_until_it_is(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, status: int
) -> None:
    endpoint.answer(status)
    delivery = deliver()
    delivery.put(batch("ada", 1))
    assert endpoint.wait_for_posts(3)
    assert delivery.stats().waiting == 1
    endpoint.answer(204)
    assert delivery.flush(10).complete
    assert endpoint.taken == ["1"]
    assert delivery.stats().retries == len(endpoint.posts) - 1  # the last one was taken
    assert adds_up(delivery)


def test_retry_after_is_waited_out(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, eventually: Eventually
) -> None:
    endpoint.answer(429, Retry_After="2")
    delivery = deliver()
    delivery.put(batch("ada", 1))
    eventually(lambda: delivery.health().state == "outage")
    endpoint.answer(200)
    delivery.put(batch("grace", 2))
    assert endpoint.wait_for_posts(2)
    assert endpoint.posts[1].at - endpoint.posts[0].at >= 2


def test_a_refused_batch_loses_its_bad_entry_alone(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, caplog: pytest.LogCaptureFixture
) -> None:
    def reply(body: dict[str, Any]) -> Any:
        bad = any(event["message_id"] == "13" for event in body["events"])
        return (400, {"error": "ada@example.com is no event"}, {}) if bad else (200, {}, {})

    endpoint.reply = reply
    delivery = deliver()
    delivery.put(batch("ada", *range(30)))
    assert delivery.flush(10).complete
    assert sorted(map(int, endpoint.taken)) == [number for number in range(30) if number != 13]
    assert endpoint.taken == sorted(endpoint.taken, key=int), "order was lost on the way"
    assert (delivery.stats().delivered, delivery.stats().refused) == (29, 1)
    assert "ada@example.com" not in caplog.text


@in_bulk_too
def test_an_endpoint_that_refuses_all_is_not_asked_for_every_entry_of_every_batch(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    endpoint.answer(400, {"error": "unknown"})
    delivery = deliver(concurrency=1)
    for person in range(10):
        delivery.put(batch(f"person-{person}", *range(person * 100, person * 100 + 8)))
    assert delivery.flush(10).complete
    assert delivery.stats().refused == 80
    assert len(endpoint.posts) <= 3 * 15 + 7


def test_what_is_too_large_goes_in_parts(endpoint: Endpoint, deliver: Deliver, batch: MakeBatch) -> None:
    def reply(body: dict[str, Any]) -> Any:
        return (200 if len(body["events"]) <= 3 else 413), {}, {}

    endpoint.reply = reply
    delivery = deliver()
    delivery.put(batch("ada", *range(20)))
    assert delivery.flush(10).complete
    assert endpoint.taken == [str(number) for number in range(20)]


@in_bulk_too
@pytest.mark.parametrize(
    "answer",
    [(401, {}), (403, {}), (404, {}), (405, {}), (400, {"error": "Koala ingest suspended"}), (308, {})],
)
def test_a_matter_of_configuration_holds_everything_and_says_what_to_do(  # noqa: PLR0917  (fixtures)
    endpoint: Endpoint,
    deliver: Deliver,
    batch: MakeBatch,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
    answer: tuple[int, dict[str, str]],
) -> None:
    endpoint.answer(*answer)
    delivery = deliver()
    delivery.put(batch("ada", 1, 2))
    eventually(lambda: delivery.health().state == "held")
    for number in range(50):
        delivery.put(batch(f"person-{number}", f"later-{number}"))
    report = delivery.flush(0.5)
    assert not report.complete
    assert report.waiting == 52
    assert len(endpoint.posts) <= 2, "the endpoint was asked again and again"
    assert delivery.health().state == "held"
    assert not delivery.health().ok
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert "KOALA_ENDPOINT" in caplog.text
    endpoint.answer(200)
    assert delivery.close(5).complete
    assert len(endpoint.taken) == 52


@in_bulk_too
def test_a_batch_that_the_endpoint_cannot_digest_does_not_stop_the_others(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    def reply(body: dict[str, Any]) -> Any:
        return (500 if body["profile_id"] == "poison" else 200), {}, {}

    endpoint.reply = reply
    delivery = deliver(concurrency=1)
    delivery.put(batch("poison", "poison"))
    for number in range(20):
        delivery.put(batch(f"person-{number}", number))
    assert endpoint.wait_for(lambda: delivery.stats().delivered == 20)
    assert delivery.stats().waiting == 1


@in_bulk_too
def test_a_cut_connection_costs_nothing(endpoint: Endpoint, deliver: Deliver, batch: MakeBatch) -> None:
    answers = iter([-2, 200, -2, 200, -2])
    endpoint.reply = lambda _: (next(answers, 200), {}, {})
    delivery = deliver(concurrency=1)
    for number in range(5):
        delivery.put(batch(f"person-{number}", number))
    assert delivery.flush(20).complete
    assert set(endpoint.taken) == {"0", "1", "2", "3", "4"}  # what shared a bulk that was cut comes again


def test_what_the_endpoint_may_have_is_not_called_lost(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    endpoint.answer(-2)  # takes it, and cuts the connection
    delivery = deliver(concurrency=1)
    delivery.put(batch("ada", 1))
    assert endpoint.wait_for_posts(1)
    endpoint.answer(429, Retry_After="60")
    delivery.put(batch("grace", 2, 3))
    delivery.close(1)
    assert delivery.stats().dropped == {"unanswered at the end": 1, "process ended": 2}


@in_bulk_too
def test_trouble_is_said_once_when_it_begins_and_once_when_it_ends(
    endpoint: Endpoint,
    deliver: Deliver,
    batch: MakeBatch,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "koala_middleware")
    endpoint.answer(500)
    delivery = deliver(outbox_max_entries=100)
    for number in range(2000):
        delivery.put(batch(f"person-{number}", number))
    eventually(lambda: "HTTP 500" in caplog.text)
    assert delivery.stats().dropped == {"outbox full": 1900}
    endpoint.answer(200)
    assert delivery.flush(20).complete
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) <= 3, lines
    assert any("answers again" in line for line in lines)
    assert adds_up(delivery)


def test_on_delivery_hears_what_became_of_every_batch(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    heard: list[DeliveryEvent] = []
    answers = iter([500, 400])
    endpoint.reply = lambda _: (next(answers, 200), {}, {})
    delivery = deliver(on_delivery=heard.append, concurrency=1)
    delivery.put(batch("ada", 1))
    assert delivery.flush(10).complete
    delivery.put(batch("grace", 2))
    assert delivery.flush(10).complete
    outcomes = [(event.outcome, event.entries, event.status) for event in heard]
    assert outcomes == [("retried", 1, 500), ("refused", 1, 400), ("delivered", 1, 200)]


@in_bulk_too
def test_a_hook_that_raises_or_calls_back_stops_nothing(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(event: DeliveryEvent) -> None:
        delivery.flush(5)
        delivery.stats()
        delivery.close(5)
        raise RuntimeError("ada@example.com")

    delivery = deliver(on_delivery=hook)
    for number in range(10):
        delivery.put(batch(f"person-{number}", number))
    assert delivery.flush(10).complete
    assert len(set(endpoint.taken)) == 10
    assert caplog.text.count("on_delivery raised") == 1
    assert "ada@example.com" not in caplog.text


def test_health_turns_bad_when_nothing_gets_through(
    endpoint: Endpoint,
    deliver: Deliver,
    batch: MakeBatch,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    endpoint.answer(500)
    delivery = deliver(alarm_after=1)
    assert delivery.health().ok
    delivery.put(batch("ada", 1))
    eventually(lambda: "nothing was delivered" in caplog.text)
    assert not delivery.health().ok
    endpoint.answer(200)
    assert delivery.flush(10).complete
    assert delivery.health().ok


def test_a_refused_entry_stays_in_the_durable_outbox(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, tmp_path: Path
) -> None:
    endpoint.answer(422, {"error": "event is missing"})
    delivery = deliver(outbox=tmp_path)
    delivery.put(batch("ada", 1))
    assert delivery.flush(10).complete
    assert delivery.stats().refused == 1
    [path] = tmp_path.glob("*/*.refused")
    assert b"event is missing" in path.read_bytes()


@in_bulk_too
@pytest.mark.parametrize("status", [401, 403, 404, 406])
def test_a_firewall_that_takes_offense_at_one_body_costs_that_entry_alone(  # noqa: PLR0917  (fixtures)
    endpoint: Endpoint,
    deliver: Deliver,
    batch: MakeBatch,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """Others are taken with the same key, so it is not about the key."""

    def reply(body: dict[str, Any]) -> Any:
        bad = any(event["message_id"] == "poison" for event in body["events"])
        return (status if bad else 200), {}, {}

    endpoint.reply = reply
    delivery = deliver()
    delivery.put(batch("first", "first"))
    assert delivery.flush(10).complete
    delivery.put(batch("ada", "before", "poison", "after"))
    for number in range(40):
        delivery.put(batch(f"person-{number}", number))
    eventually(lambda: delivery.stats().waiting == 0)
    assert set(endpoint.taken) == {"first", "before", "after", *map(str, range(40))}
    assert (delivery.stats().delivered, delivery.stats().refused) == (43, 1)
    assert delivery.health().ok
    assert "PUBLIC_API_KEY" not in caplog.text
    assert adds_up(delivery)


@pytest.mark.parametrize("status", [404, 405])
def test_a_wrong_key_or_address_keeps_everything_and_turns_health_bad(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    endpoint.answer(status)
    delivery = deliver()
    delivery.put(batch("ada", *range(8)))
    assert not delivery.flush(0.5).complete
    assert delivery.stats().waiting == 8
    assert (delivery.health().ok, delivery.health().state) == (False, "held")
    assert "endpoint (KOALA_ENDPOINT) and public_api_key (KOALA_PUBLIC_API_KEY)" in caplog.text
    assert len(endpoint.posts) == 1
    endpoint.answer(200)
    assert delivery.flush(20).complete
    assert delivery.stats().delivered == 8


def test_health_turns_bad_on_an_endpoint_that_refuses_everything(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    endpoint.answer(422)
    delivery = deliver()
    for number in range(10):
        delivery.put(batch(f"person-{number}", number))
    assert delivery.flush(10).complete
    assert not delivery.health().ok
    assert "refuses everything" in delivery.health().reason
    endpoint.answer(200)
    delivery.put(batch("ada", "good"))
    assert delivery.flush(10).complete
    assert delivery.health().ok


def test_time_that_a_test_has_frozen_stops_no_flush(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.answer(500)
    delivery = deliver()
    real, frozen = time.monotonic, time.monotonic()
    began = real()
    with monkeypatch.context() as freezing:
        freezing.setattr(time, "monotonic", lambda: frozen)
        freezing.setattr(time, "time", lambda: 1_000_000_000.0)
        delivery.put(batch("ada", 1))
        assert not delivery.flush(0.5).complete
    assert real() - began < 10
    endpoint.answer(200)
    assert delivery.flush(10).complete


@pytest.mark.parametrize("outbox", [None, "outbox"])
def test_what_must_not_be_sent_is_kept_aside_and_counts_as_refused(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, tmp_path: Path, outbox: str | None
) -> None:
    delivery = deliver(outbox=tmp_path / outbox if outbox else None)
    delivery.set_aside(batch("ada", 1, 2), "before_send failed")
    stats = delivery.stats()
    assert (stats.accepted, stats.refused, stats.waiting) == (2, 2, 0)
    assert delivery.flush(10).complete
    assert endpoint.posts == []
    if outbox:
        (directory,) = (tmp_path / outbox).iterdir()
        kept = list(refused_entries(directory))
        assert [one.reason for one in kept] == ["before_send failed"] * 2


@in_bulk_too
def test_the_numbers_add_up_whenever_they_are_asked_for(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    delivery, put = deliver(flush_interval=0.1, outbox_max_entries=300), threading.Event()
    wrong: list[object] = []

    def ask() -> None:
        while not put.is_set():
            if not adds_up(delivery):
                wrong.append(delivery.stats())

    asking = threading.Thread(target=ask)
    asking.start()

    def write(name: int) -> None:
        for number in range(1000):
            delivery.put(batch(f"{name}-{number % 50}", number))

    writers = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert delivery.flush(20).complete
    put.set()
    asking.join()
    assert wrong == []
    stats = delivery.stats()
    assert stats.accepted == 4000
    assert stats.delivered + sum(stats.dropped.values()) == 4000


def test_a_slow_on_delivery_keeps_no_caller_waiting(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    go_on = threading.Event()
    delivery = deliver(on_delivery=lambda _: go_on.wait(20))
    delivery.put(batch("ada", 1))
    assert endpoint.wait_for_posts(1)
    began = time.monotonic()
    delivery.put(batch("bo", 2))
    assert delivery.stats().accepted == 2
    assert not delivery.flush(0.2).complete
    assert time.monotonic() - began < 5
    go_on.set()
