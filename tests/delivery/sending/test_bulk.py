"""Many people's batches in one request: when, and what becomes of each whatever the endpoint answers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.collecting import KEY, Running, listening
from support.examples import examples
from support.stats import adds_up

from koala_middleware.collector import create_app
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery, DeliveryEvent
from koala_middleware.delivery.schedule import lanes
from koala_middleware.delivery.schedule.items import Parcel, Waiting
from koala_middleware.delivery.sending import bulk_support
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.limits import BULK_LINES
from koala_middleware.protocol.subjects import Account

Deliver = Callable[..., Delivery]
MakeBatch = Callable[..., Batch]
Eventually = Callable[..., None]
RunPython = Callable[..., Any]
Endpoint = Any  # conftest.py's; reaches tests as a fixture

both = pytest.mark.parametrize("transport", ["http", "curl"])
NOWHERE = "/web/projects/pk_test/batch"


@pytest.fixture(autouse=True)
def offered(endpoint: Endpoint) -> None:
    endpoint.bulk = True


@pytest.fixture(params=["memory", "durable"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "durable" else None


def put_all(delivery: Delivery, batch: MakeBatch, people: int, *, entries: int = 1, first: int = 0) -> None:
    """So many people at once: nothing leaves before all are there."""
    for person in range(first, first + people):
        delivery.put(batch(f"person-{person}", *(f"{person}-{number}" for number in range(entries))))


def ids(people: int, entries: int = 1) -> set[str]:
    return {f"{person}-{number}" for person in range(people) for number in range(entries)}


class TestWhen:
    def test_many_people_who_are_due_share_one_request(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, outbox: Path | None
    ) -> None:
        delivery = deliver(flush_interval=6000, outbox=outbox)
        put_all(delivery, batch, 50, entries=2)
        assert delivery.flush(10).complete
        assert (endpoint.asked, endpoint.bulks) == (1, [50])
        assert set(endpoint.taken) == ids(50, 2)
        assert delivery.stats().delivered == 100
        assert adds_up(delivery)

    def test_few_go_in_plain_requests_and_nobody_asks(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        delivery = deliver(flush_interval=6000)
        put_all(delivery, batch, lanes.WORTH_A_BULK - 1)
        assert delivery.flush(10).complete
        assert (endpoint.asked, endpoint.bulks) == (0, [])
        assert set(endpoint.taken) == ids(lanes.WORTH_A_BULK - 1)

    def test_the_endpoint_is_asked_once_though_many_threads_send(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        delivery = deliver(flush_interval=6000, concurrency=8)
        for first in range(0, 200, 40):
            put_all(delivery, batch, 40, first=first)
            assert delivery.flush(10).complete
        assert endpoint.asked == 1
        assert set(endpoint.taken) == ids(200)

    def test_an_endpoint_that_does_not_offer_it_gets_plain_requests(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, outbox: Path | None
    ) -> None:
        endpoint.bulk = False
        delivery = deliver(flush_interval=6000, outbox=outbox)
        for first in (0, 20):
            put_all(delivery, batch, 20, first=first)
            assert delivery.flush(10).complete
        assert (endpoint.asked, endpoint.bulks) == (1, [])
        assert set(endpoint.taken) == ids(40)
        assert delivery.stats().retries == 0

    def test_a_no_is_not_for_ever(self) -> None:
        support = bulk_support.BulkSupport()
        support.found(offered=False, now=0.0)
        assert support.most(bulk_support.ASK_AGAIN - 1) == 1
        assert support.most(bulk_support.ASK_AGAIN) == BULK_LINES
        assert support.offered is None, "the endpoint is asked again"

    def test_what_is_too_much_for_one_goes_in_several(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        delivery = deliver(flush_interval=6000, concurrency=1)
        put_all(delivery, batch, BULK_LINES + 10)
        assert delivery.flush(20).complete
        assert endpoint.bulks == [BULK_LINES, 10]

    def test_large_batches_make_smaller_bulks(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        delivery = deliver(flush_interval=6000, concurrency=1)
        for person in range(16):
            delivery.put(batch(f"person-{person}", person, text="x" * 200_000))
        assert delivery.flush(20).complete
        assert endpoint.bulks == [6, 6, 4]  # 1 MiB is full; the endpoint takes four

    def test_people_who_come_one_after_the_other_leave_together(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        """Each has a moment of their own to be due; rounded up to a few, those are shared."""
        delivery = deliver(flush_interval=4)
        began = time.monotonic()
        for person in range(100):
            put_all(delivery, batch, 1, first=person)
            threading.Event().wait(0.002)
        beats = 2 + (time.monotonic() - began) / lanes.beat(4)
        assert endpoint.wait_for(lambda: len(endpoint.taken) == 100)
        plain = sum(post.path == NOWHERE for post in endpoint.posts)
        assert len(endpoint.bulks) + plain <= beats * lanes.WORTH_A_BULK
        assert endpoint.posts[0].at - began >= lanes.quiet(4)

    def test_companies_go_along(self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch) -> None:
        delivery = deliver(flush_interval=6000)
        put_all(delivery, batch, 5)
        delivery.put(Batch(Account(domain="acme.example"), (Entry("track", b'{"message_id": "acme"}'),)))
        assert delivery.flush(10).complete
        assert endpoint.bulks == [6]
        assert {"domain": "acme.example", "events": [{"message_id": "acme"}]} in [
            post.body for post in endpoint.posts
        ]

    def test_one_persons_entries_stay_in_order_over_many_bulks(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, outbox: Path | None
    ) -> None:
        delivery = deliver(flush_interval=6000, outbox=outbox)
        for number in range(100):
            for person in range(5):
                delivery.put(batch(f"person-{person}", f"{person}-{number:02}"))
        assert delivery.flush(10).complete
        for person in range(5):
            theirs = [id_ for id_ in endpoint.taken if id_.startswith(f"{person}-")]
            assert theirs == [f"{person}-{number:02}" for number in range(100)]
        assert max(endpoint.bulks) == 5, "a person had two batches on their way at once"

    def test_the_backlog_after_an_outage_goes_in_bounded_bulks(self, batch: MakeBatch) -> None:
        waiting = lanes.Lanes(linger=0.0)
        for person in range(2_000):
            subject, (entry,) = batch(f"p{person}", person).subject, batch(f"p{person}", person).entries
            waiting.add(Waiting(entry.kind, entry.body, subject, None, 0.0), 0.0)
        waiting.make_late()
        out = sum(len(claimed(waiting, step / 1000)) for step in range(1_000))
        assert 500 <= out <= 1_500  # one second


def claimed(waiting: lanes.Lanes, now: float) -> list[Parcel]:
    return waiting.claimed(list(waiting.claim(now, BULK_LINES)), now)


@both
class TestAnswers:
    def test_each_line_is_settled_by_its_own(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, outbox: Path | None
    ) -> None:
        answers = {"1-0": 400, "2-0": 503, "3-0": 422, "5-0": 429}
        heard: list[DeliveryEvent] = []
        endpoint.reply = lambda body: (
            answers.pop(body["events"][0]["message_id"], 200),
            {"error": "no event"},
            {},
        )
        delivery = deliver(flush_interval=6000, outbox=outbox, on_delivery=heard.append)
        put_all(delivery, batch, 8)
        assert delivery.flush(20).complete
        stats = delivery.stats()
        assert (stats.delivered, stats.refused, stats.retries) == (6, 2, 2)
        assert set(endpoint.taken) == ids(8) - {"1-0", "3-0"}
        assert sorted((event.outcome, event.status) for event in heard) == [
            *[("delivered", ANY)] * 6,
            ("refused", 400),
            ("refused", 422),
            ("retried", 429),
            ("retried", 503),
        ]
        assert delivery.health().ok
        assert adds_up(delivery)

    def test_a_refused_line_loses_its_bad_entry_alone(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        def reply(body: dict[str, Any]) -> Any:
            bad = any(event["message_id"] == "3-7" for event in body["events"])
            return (400 if bad else 200), {}, {}

        endpoint.reply = reply
        delivery = deliver(flush_interval=6000)
        put_all(delivery, batch, 6, entries=20)
        assert delivery.flush(10).complete
        assert (delivery.stats().delivered, delivery.stats().refused) == (119, 1)
        assert set(endpoint.taken) == ids(6, 20) - {"3-7"}

    @pytest.mark.parametrize("status", [500, 503, 429])
    def test_a_bulk_that_is_not_taken_now_is_sent_again(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, outbox: Path | None, status: int
    ) -> None:
        answers = [status]
        endpoint.reply_to_bulk = lambda _: (answers.pop(), {}, {}) if answers else None
        delivery = deliver(flush_interval=6000, outbox=outbox)
        put_all(delivery, batch, 20)
        assert delivery.flush(20).complete
        assert set(endpoint.taken) == ids(20)
        assert delivery.stats().retries == 20
        assert adds_up(delivery)

    def test_retry_after_is_waited_out(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, eventually: Eventually
    ) -> None:
        endpoint.answer(429, Retry_After="2")
        delivery = deliver(flush_interval=0.3)
        put_all(delivery, batch, 10)
        eventually(lambda: delivery.health().state == "outage")
        endpoint.answer(200)
        assert endpoint.wait_for(lambda: len(endpoint.taken) == 10)
        assert min(post.at for post in endpoint.posts if post.status == 200) - endpoint.posts[0].at >= 2

    @pytest.mark.parametrize("whole", [404, 405, 400, 403, 415, 501, 302, 200])
    def test_an_endpoint_that_dropped_bulk_gets_plain_requests_and_nothing_is_lost(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, outbox: Path | None, whole: int
    ) -> None:
        endpoint.reply_to_bulk = lambda _: (whole, {"ok": True}, {})
        delivery = deliver(flush_interval=6000, outbox=outbox)
        put_all(delivery, batch, 20)
        assert delivery.flush(10).complete
        plain = [post for post in endpoint.posts if post.path == NOWHERE]
        assert {id_ for post in plain for id_ in post.ids} == ids(20)
        assert len(endpoint.bulks) == 1
        stats = delivery.stats()
        assert (stats.delivered, stats.refused, stats.retries) == (20, 0, 0)

    @pytest.mark.parametrize(
        "answers", [None, [], [{"status": 200}] * 19, [{"status": "?"}] * 20, [200] * 20, {"a": 1}]
    )
    def test_answers_that_do_not_fit_the_lines_count_for_nothing(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, answers: Any
    ) -> None:
        endpoint.reply_to_bulk = lambda _: (207, {"answers": answers}, {})
        delivery = deliver(flush_interval=6000)
        put_all(delivery, batch, 20)
        assert delivery.flush(10).complete
        plain = [post for post in endpoint.posts if post.path == NOWHERE]
        assert {id_ for post in plain for id_ in post.ids} == ids(20)
        assert delivery.stats().delivered == 20

    def test_what_is_too_large_goes_in_smaller_bulks(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        endpoint.reply_to_bulk = lambda lines: (413, {}, {}) if lines > 10 else None
        delivery = deliver(flush_interval=6000, concurrency=1)
        put_all(delivery, batch, 40)
        assert delivery.flush(10).complete
        assert set(endpoint.taken) == ids(40)
        assert delivery.stats().delivered == 40

    def test_an_endpoint_that_cannot_digest_bulks_gets_plain_requests_in_the_end(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        endpoint.reply_to_bulk = lambda _: (500, {}, {})
        delivery = deliver(flush_interval=6000, concurrency=1)
        for first in range(0, 60, 20):
            put_all(delivery, batch, 20, first=first)
            assert delivery.flush(20).complete
        assert delivery.stats().delivered == 60
        before = len(endpoint.bulks)
        put_all(delivery, batch, 20, first=60)
        assert delivery.flush(20).complete
        assert len(endpoint.bulks) == before

    def test_one_line_that_breaks_the_endpoint_ends_alone(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        def reply(body: dict[str, Any]) -> Any:
            return (-2 if body["profile_id"] == "person-13" else 200), {}, {}

        endpoint.reply = reply
        delivery = deliver(concurrency=2, flush_interval=0.2)
        put_all(delivery, batch, 40)
        assert endpoint.wait_for(lambda: delivery.stats().delivered == 39, 60)
        assert delivery.stats().waiting == 1

    def test_a_bulk_that_was_cut_off_is_sent_again_under_the_same_ids(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, outbox: Path | None
    ) -> None:
        answers = [-2, -2]  # on a fresh connection, too
        endpoint.reply_to_bulk = lambda _: (answers.pop(), {}, {}) if answers else None
        delivery = deliver(flush_interval=6000, outbox=outbox, concurrency=1)
        put_all(delivery, batch, 30)
        assert delivery.flush(20).complete
        assert set(endpoint.taken) == ids(30)
        came = [id_ for post in endpoint.posts for id_ in post.ids]
        assert set(came) == ids(30)
        assert adds_up(delivery)

    def test_what_was_in_a_bulk_without_an_answer_is_not_called_lost(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        delivery = deliver(flush_interval=6000)
        put_all(delivery, batch, 5)
        assert delivery.flush(10).complete
        endpoint.reply_to_bulk = lambda _: (-2, {}, {})
        endpoint.answer(429, Retry_After="60")
        put_all(delivery, batch, 20, first=5)
        delivery.close(1)
        dropped = delivery.stats().dropped
        assert dropped == {"unanswered at the end": 20}

    def test_after_an_outage_the_endpoint_is_asked_again(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("koala_middleware.delivery.sending.settling.OUTAGE", 0.0)
        delivery = deliver(flush_interval=6000)
        put_all(delivery, batch, 10)
        assert delivery.flush(10).complete
        endpoint.answer(500)
        endpoint.reply_to_bulk = lambda _: (500, {}, {})
        put_all(delivery, batch, 10, first=10)
        assert not delivery.flush(0.5).complete
        endpoint.answer(200)
        endpoint.reply_to_bulk = lambda _: None
        assert delivery.flush(20).complete
        put_all(delivery, batch, 10, first=20)
        assert delivery.flush(20).complete
        assert endpoint.asked == 2
        assert set(endpoint.taken) == ids(30)

    def test_a_flush_ends_in_time_though_a_bulk_hangs(
        self, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
    ) -> None:
        endpoint.reply_to_bulk = lambda _: (-1, {}, {})
        delivery = deliver(flush_interval=6000)
        put_all(delivery, batch, 20)
        report = delivery.flush(0.5)
        assert (report.complete, report.waiting) == (False, 20)
        assert report.seconds < 2


def test_the_end_of_the_process_sends_what_waits_in_bulk(endpoint: Endpoint, run_python: RunPython) -> None:
    process = run_python(
        "for number in range(3000): delivery.put(batch(f'person-{number}', number))", flush_interval=60
    )
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert sorted(map(int, endpoint.taken)) == list(range(3000))
    assert len(endpoint.bulks) >= 3


def test_inline_sends_in_bulk_too(endpoint: Endpoint, deliver: Deliver, batch: MakeBatch) -> None:
    """What waits from an outage, when the next exchange finds the endpoint back."""
    endpoint.answer(500)
    delivery = deliver(delivery="inline", shutdown_timeout=0.2)
    put_all(delivery, batch, 6)
    endpoint.answer(200)
    assert delivery.flush(10).complete
    assert set(endpoint.taken) == ids(6)


@pytest.mark.parametrize("seed", range(3))
def test_a_process_killed_amid_bulks_loses_nothing(
    endpoint: Endpoint, run_python: RunPython, seed: int
) -> None:
    process = run_python(
        """
        for number in range(100_000):
            delivery.put(batch(f"person-{number % 700}", number))
            if number % 50 == 0:
                print(number, flush=True)
        """,
        outbox="outbox",
        flush_interval=0.02,
    )
    assert process.stdout is not None
    last = 0
    for line in process.stdout:
        last = int(line)
        if last >= 1_500 + seed * 1_777 and endpoint.bulks:
            break
    process.kill()
    process.communicate()
    put = "delivery.put(batch('ada', 'new'))\ndelivery.flush(60)\ndelivery.flush(60)"
    run_python(put, outbox="outbox").communicate(timeout=90)
    arrived = {int(id_) for id_ in endpoint.taken if id_ != "new"}
    assert set(range(last + 1)) <= arrived


SCRIPTS = st.fixed_dictionaries(
    {
        "each": st.lists(st.sampled_from([200, 200, 200, 400, 413, 429, 500, 503, -2]), max_size=60),
        "whole": st.lists(st.sampled_from([None, None, 200, 404, 413, 500, -2]), max_size=6),
        "people": st.integers(1, 12),
        "entries": st.integers(1, 5),
    }
)


def test_whatever_is_answered_everything_arrives_in_order_or_is_refused(
    endpoint: Endpoint, config_for: Callable[..., KoalaConfig], batch: MakeBatch
) -> None:
    numbers = itertools.count()

    @settings(max_examples=examples(25), deadline=None)
    @given(script=SCRIPTS)
    def holds(script: dict[str, Any]) -> None:
        play(endpoint, script)
        people, entries, before = script["people"], script["entries"], len(endpoint.taken)
        # A sender of its own: those of equal configuration share one, and its numbers.
        delivery = Delivery(config_for(flush_interval=6000, user_agent=f"tests/{next(numbers)}"))
        put_all(delivery, batch, people, entries=entries)
        assert delivery.flush(60).complete
        stats = delivery.stats()
        assert stats.delivered + stats.refused == people * entries
        first_came = list(dict.fromkeys(endpoint.taken[before:]))
        assert stats.delivered <= len(first_came) <= people * entries
        for person in range(people):
            theirs = [id_ for id_ in first_came if id_.startswith(f"{person}-")]
            assert theirs == sorted(theirs), "a person's entries left out of order"
        delivery.close(5)

    holds()


def play(endpoint: Endpoint, script: dict[str, Any]) -> None:
    """The endpoint answers as the script says, then with 200."""
    lock = threading.Lock()

    def next_of(answers: list[int | None]) -> int | None:
        with lock:
            return answers.pop() if answers else None

    def reply_to_bulk(_: int) -> Any:
        status = next_of(script["whole"])
        return status and (status, {}, {})

    endpoint.reply = lambda _: (next_of(script["each"]) or 200, {}, {})
    endpoint.reply_to_bulk = reply_to_bulk


def test_the_real_collector_takes_bulks(tmp_path: Path, batch: MakeBatch, deliver: Deliver) -> None:
    with listening(create_app(tmp_path / "koala.db")) as collector:
        delivery = deliver(endpoint=collector.url, public_api_key=KEY, flush_interval=6000)
        put_all(delivery, batch, 300, entries=3)
        assert delivery.flush(30).complete
        assert delivery.stats().delivered == 900
        assert _stored(collector) == 900
        assert {kept["path"] for kept in collector.requests()} == {f"/web/projects/{KEY}/bulk"}


def _stored(collector: Running) -> int:
    with collector.app.state.collector.store.reader() as reader:
        return len(reader.entries(0, 10_000))
