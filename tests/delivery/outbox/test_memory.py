"""The contract of every outbox: one set of tests, each run on memory and on disk."""

from __future__ import annotations

import functools
import itertools
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.interrupting import every_step

from koala_middleware.delivery.outbox import memory
from koala_middleware.delivery.outbox.base import Outbox
from koala_middleware.delivery.outbox.durable import DurableOutbox
from koala_middleware.delivery.outbox.memory import MemoryOutbox
from koala_middleware.delivery.schedule import due_queue, lanes
from koala_middleware.delivery.schedule.lanes import Parcel
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person

MakeOutbox = Callable[..., Outbox]
MakeBatch = Callable[..., Batch]


@pytest.fixture(params=["memory", "durable"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> MakeOutbox:
    def make(**settings: Any) -> Outbox:
        settings = {"linger": 0.0, "max_entries": 100, "max_bytes": 1 << 20, "drop_old": False, **settings}
        if request.param == "memory":
            return MemoryOutbox(**settings)
        return DurableOutbox(tmp_path, max_age=3600, sync=False, memory_bytes=1 << 20, **settings)

    return make


def ids(parcel: Parcel | None) -> list[str]:
    return [json.loads(item.body)["message_id"] for item in parcel.items] if parcel else []


def claim(outbox: Outbox) -> Parcel:
    parcel = outbox.claim(time.monotonic())
    assert parcel is not None, "nothing to claim"
    return parcel


def adds_up(outbox: Outbox) -> bool:
    stats = outbox.stats()
    fates = stats.delivered + stats.waiting + stats.refused + sum(stats.dropped.values())
    return stats.accepted == fates


def delivered(outbox: Outbox) -> list[str]:
    """Delivers all, and tells the message ids."""
    taken: list[str] = []
    outbox.hurry(time.monotonic())
    while parcels := outbox.claim_many(time.monotonic(), 100):
        taken += itertools.chain(*map(ids, parcels))
        outbox.done_all(parcels)
    outbox.relax()
    return taken


def deliver_all(outbox: Outbox) -> None:
    delivered(outbox)


def have_others_deliver_all(outbox: Outbox) -> None:
    """A thread of delivery's, while the interrupted one waits for it."""
    with outbox.lent():
        thread = threading.Thread(target=deliver_all, args=(outbox,), daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()


class TestEveryOutbox:
    def test_what_was_put_is_claimed_and_done(self, outbox: MakeOutbox, batch: MakeBatch) -> None:
        box = outbox()
        box.put(batch("ada", 1, 2))
        assert box.stats().waiting == 2
        parcel = claim(box)
        assert ids(parcel) == ["1", "2"]
        box.done(parcel, parcel.items)
        assert (box.stats().delivered, box.stats().waiting) == (2, 0)
        assert adds_up(box)

    def test_what_must_not_be_sent_is_set_aside_and_counts_as_refused(
        self, outbox: MakeOutbox, batch: MakeBatch
    ) -> None:
        box = outbox()
        box.set_aside(batch("ada", 1, 2), "before_send failed")
        assert box.claim(time.monotonic()) is None
        assert (box.stats().refused, box.stats().waiting) == (2, 0)
        assert adds_up(box)

    def test_nothing_is_claimed_before_it_is_due(self, outbox: MakeOutbox, batch: MakeBatch) -> None:
        box = outbox(linger=600.0)
        box.put(batch("ada", 1))
        now = time.monotonic()
        assert box.claim(now) is None
        assert 7 < box.next_due(now) <= 53  # quiet for 7.5, and at a moment that many share
        assert ids(box.claim(now + 53)) == ["1"]

    def test_what_one_person_did_meanwhile_shares_one_parcel(
        self, outbox: MakeOutbox, batch: MakeBatch
    ) -> None:
        box = outbox(linger=600.0)
        for number in range(3):
            box.put(batch("ada", number))
        assert ids(box.claim(time.monotonic() + 53)) == ["0", "1", "2"]

    def test_a_parcel_holds_thirty_of_a_kind_at_most(self, outbox: MakeOutbox, batch: MakeBatch) -> None:
        box = outbox()
        box.put(batch("ada", *range(65)))
        sizes = []
        while parcel := box.claim(time.monotonic()):
            sizes.append(len(parcel.items))
            box.done(parcel, parcel.items)
        assert sizes == [30, 30, 5]

    def test_a_parcel_stays_below_the_byte_limit(self, outbox: MakeOutbox, batch: MakeBatch) -> None:
        box = outbox()
        box.put(batch("ada", 1, 2, 3, text="x" * 200_000))
        assert ids(claim(box)) == ["1", "2"]

    def test_two_emails_on_one_profile_never_share_a_parcel(self, outbox: MakeOutbox) -> None:
        box = outbox()
        for number, email in enumerate(["ada@example.com", "grace@example.com"]):
            box.put(Batch(Person("p1", email), (Entry("identify", b'{"message_id":"%d"}' % number),)))
        assert ids(claim(box)) == ["0"]

    def test_a_person_has_one_parcel_out_at_a_time_and_others_do_not_wait(
        self, outbox: MakeOutbox, batch: MakeBatch
    ) -> None:
        box = outbox()
        box.put(batch("ada", 1))
        first = claim(box)
        box.put(batch("ada", 2))
        box.put(batch("grace", 3))
        assert ids(claim(box)) == ["3"]
        assert box.claim(time.monotonic()) is None
        box.done(first, first.items)
        assert ids(claim(box)) == ["2"]

    def test_what_is_put_back_comes_first_again_at_its_time(
        self, outbox: MakeOutbox, batch: MakeBatch
    ) -> None:
        box = outbox()
        box.put(batch("ada", 1))
        parcel, now = claim(box), time.monotonic()
        box.put(batch("ada", 2))
        box.put_back(parcel, now, at=now + 10)
        assert box.claim(now + 9) is None
        assert ids(box.claim(now + 11)) == ["1", "2"]
        assert adds_up(box)

    def test_a_parcel_can_be_settled_in_parts(self, outbox: MakeOutbox, batch: MakeBatch) -> None:
        box = outbox()
        box.put(batch("ada", 1, 2, 3))
        parcel, now = claim(box), time.monotonic()
        one, two, _ = parcel.items
        box.done(parcel, [one])
        box.refuse(parcel, [two], "HTTP 400")
        assert box.claim(now) is None
        box.put_back(parcel, now, at=now)
        assert ids(claim(box)) == ["3"]
        stats = box.stats()
        assert (stats.delivered, stats.refused, stats.waiting) == (1, 1, 1)

    @pytest.mark.parametrize("drop_old", [False, True])
    def test_what_does_not_fit_is_dropped_and_counted(
        self, outbox: MakeOutbox, batch: MakeBatch, drop_old: bool
    ) -> None:
        box = outbox(max_entries=10, max_bytes=1024, drop_old=drop_old)
        for number in range(50):
            box.put(batch(f"person-{number}", number))
        stats = box.stats()
        assert stats.accepted == 50
        assert 0 < stats.waiting <= 10
        assert stats.dropped == {"outbox full": 50 - stats.waiting}

    def test_the_byte_limit_is_kept_rigidly(self, outbox: MakeOutbox, batch: MakeBatch) -> None:
        box = outbox(max_entries=10_000, max_bytes=20_000)
        for number in range(500):
            box.put(batch(f"person-{number}", number, text="x" * (number % 200)))
            assert box.stats().waiting_bytes <= 20_000
        assert box.stats().waiting > 20
        assert adds_up(box)

    def test_what_others_dropped_is_in_the_books(self, outbox: MakeOutbox) -> None:
        box = outbox()
        box.count_dropped(7, "sampled")
        assert (box.stats().accepted, box.stats().dropped) == (7, {"sampled": 7})

    def test_after_an_outage_new_people_go_first_and_each_ones_order_is_kept(
        self, outbox: MakeOutbox, batch: MakeBatch
    ) -> None:
        box = outbox()
        for number in range(3):
            box.put(batch(f"old-{number}", f"old-{number}"))
        box.recovered()
        box.put(batch("new", "new"))
        box.put(batch("old-0", "old-0 again"))
        now = time.monotonic() + 1
        assert ids(box.claim(now)) == ["new"]
        assert ids(box.claim(now)) == ["old-0", "old-0 again"]

    def test_the_backlog_drains_at_a_bounded_rate(self, outbox: MakeOutbox, batch: MakeBatch) -> None:
        box = outbox()
        for number in range(90):
            box.put(batch(f"old-{number}", number))
        box.recovered()
        now, out = time.monotonic(), 0
        for step in range(500):  # half a second
            out += box.claim(now + step / 1000) is not None
        assert 25 <= out <= 75

    def test_a_flush_hurries_what_waits_and_asks_for_nothing_that_comes_later(
        self, outbox: MakeOutbox, batch: MakeBatch
    ) -> None:
        box = outbox(linger=600.0)
        box.put(batch("ada", 1))
        round_ = box.hurry(time.monotonic())
        box.put(batch("grace", 2))
        parcel = claim(box)
        assert ids(parcel) == ["1"]
        assert not box.settled(round_)
        box.done(parcel, parcel.items)
        assert box.settled(round_)
        assert box.claim(time.monotonic()) is None

    @pytest.mark.parametrize("taken_out", ["purge", "close"])
    def test_a_turn_that_is_left_of_what_was_taken_out_keeps_nobody_from_theirs(
        self, outbox: MakeOutbox, batch: MakeBatch, taken_out: str
    ) -> None:
        """As after an endpoint asked for patience with one person, who is then erased and comes again."""
        box, now = outbox(), time.monotonic()
        ada = Person("ada", "ada@example.com")
        box.put(Batch(ada, batch("ada", 1).entries))
        box.put_back(claim(box), now, at=now + 5)
        if taken_out == "purge":
            box.purge(People.of(["ada@example.com"]))
        else:
            box.close()
        box.put(batch("bo", 2))
        box.put_back(claim(box), now, at=now + 6)
        box.put(Batch(ada, batch("ada", 3).entries))
        box.put(Batch(ada, batch("ada", 4).entries))
        first = box.claim(now + 1) or box.claim(now + 5.5)
        assert ids(first) == ["3", "4"]
        assert [ids(parcel) for parcel in box.claim_many(now + 7, 1)] == [["2"]]

    def test_the_oldest_waiting_entry_has_an_age(self, outbox: MakeOutbox, batch: MakeBatch) -> None:
        box = outbox()
        assert box.stats().oldest_waiting_age is None
        box.put(batch("ada", 1))
        age = box.stats().oldest_waiting_age
        assert age is not None
        assert 0 <= age < 60

    def test_a_put_inside_a_put_of_the_same_thread_neither_hangs_nor_loses(
        self, outbox: MakeOutbox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As when a signal handler or a finaliser calls while its thread is in the middle of a put."""
        box, add, nested = outbox(), lanes.Lanes.add, iter([batch("ada", "nested")])

        def add_and_be_interrupted(*args: Any, **more: Any) -> None:
            if inner := next(nested, None):
                box.put(inner)
            add(*args, **more)

        monkeypatch.setattr(lanes.Lanes, "add", add_and_be_interrupted)
        box.put(batch("ada", 1))
        assert (box.stats().accepted, box.stats().waiting) == (2, 2)
        assert ids(claim(box)) == ["1", "nested"]

    @pytest.mark.parametrize("deliver", [deliver_all, have_others_deliver_all])
    @pytest.mark.parametrize("waits_already", [False, True])
    def test_a_flush_at_any_step_of_a_put_loses_nothing(
        self, outbox: MakeOutbox, batch: MakeBatch, waits_already: bool, deliver: Callable[[Outbox], None]
    ) -> None:
        """As when a signal handler delivers what waits: at every step of the bookkeeping in turn."""
        box = outbox()
        for step in every_step(lanes, due_queue):
            number = step.number
            if waits_already:
                box.put(batch("ada", f"{number}-before"))
            with step.interrupted_by(functools.partial(deliver, box)):
                box.put(batch("ada", f"{number}"))
            deliver_all(box)
            stats = box.stats()
            assert (stats.waiting, stats.waiting_bytes) == (0, 0), number
            assert stats.delivered == stats.accepted == number * (1 + waits_already), number
            assert box.settled(box.hurry(time.monotonic())), number
            box.relax()

    def test_parcels_that_were_out_at_the_close_change_nothing_afterwards(
        self, outbox: MakeOutbox, batch: MakeBatch
    ) -> None:
        box = outbox()
        box.put(batch("ada", 1, 2))
        parcel = claim(box)
        before = box.close()
        box.done(parcel, parcel.items)
        assert box.stats() == before
        assert adds_up(box)


def test_memory_counts_at_the_close_what_nobody_will_deliver(batch: MakeBatch) -> None:
    box = MemoryOutbox(linger=0.0, max_entries=10, max_bytes=10_000, drop_old=False)
    box.put(batch("ada", 1, 2, 3))
    assert box.close().dropped == {"process ended": 3}


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_handler_that_raises_at_any_step_costs_no_entry_that_others_have_put(batch: MakeBatch) -> None:
    """As Ctrl-C does, in whatever request it happens to come."""
    for step in every_step(lanes, due_queue, memory):
        box = MemoryOutbox(linger=0.0, max_entries=99, max_bytes=10_000, drop_old=False)
        box.put(batch("ada", 1))
        with box._lock:  # so that others leave it to this thread to sort in what they put
            for said in (batch("ada", 2), batch("grace", 3, 4), batch("bo", 5)):
                other = threading.Thread(target=box.put, args=(said,))
                other.start()
                other.join()
        with suppress(KeyboardInterrupt), step.interrupted_by(interrupt):
            box.stats()
        assert set(delivered(box)) == {"1", "2", "3", "4", "5"}, step.number
        assert adds_up(box), step.number
        assert (box.stats().waiting, box.stats().waiting_bytes) == (0, 0), step.number


def test_a_batch_that_cannot_be_taken_in_costs_no_other(batch: MakeBatch) -> None:
    """As a site's before_send may make one: its person has no name that anybody could be looked up by."""
    box = MemoryOutbox(linger=0.0, max_entries=99, max_bytes=10_000, drop_old=False)
    nobody: Any = ["ada"]
    with pytest.raises(TypeError):
        box.put(Batch(Person(nobody), batch("ada", 1).entries))
    box.put(batch("ada", 2))
    assert delivered(box) == ["2"]


def close(outbox: Outbox) -> None:
    outbox.close()


@pytest.mark.parametrize("handler", [close, deliver_all])
@pytest.mark.parametrize("people", [1, 3])
def test_a_close_or_a_flush_at_any_step_of_a_put_that_makes_room_keeps_the_books(
    batch: MakeBatch, people: int, handler: Callable[[Outbox], None]
) -> None:
    for step in every_step(lanes, due_queue, memory):
        box = MemoryOutbox(linger=0.0, max_entries=3, max_bytes=10_000, drop_old=True)
        for number in range(3):
            box.put(batch(f"person-{number % people}", number))
        with step.interrupted_by(functools.partial(handler, box)):
            box.put(batch("new", "new"))
        assert adds_up(box), step.number
        box.close()
        assert (box.stats().waiting, box.stats().waiting_bytes) == (0, 0), step.number
        assert adds_up(box), step.number


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda box, now: box.relax() or box.hurry(now), id="hurry"),
        pytest.param(lambda box, now: box.done_all(box.claim_many(now, 1000)), id="claim"),
        pytest.param(
            lambda box, now: [box.put_back(one, now) for one in box.claim_many(now, 9)], id="put back"
        ),
        pytest.param(lambda box, now: box.next_due(now), id="look when"),
        pytest.param(lambda box, _: box.recovered(), id="recover"),
        pytest.param(lambda box, _: box.stats(), id="count"),
        pytest.param(lambda box, _: box.purge(People.of(["p1@example.com"])), id="purge"),
    ],
)
def test_a_flush_at_any_step_of_any_call_loses_nothing_and_raises_nothing(
    batch: MakeBatch, call: Callable[[Outbox, float], object]
) -> None:
    for step in every_step(lanes, due_queue, memory):
        box = MemoryOutbox(linger=0.0, max_entries=100, max_bytes=10_000, drop_old=False)
        for number in range(6):
            box.put(Batch(Person(None, f"p{number % 3}@example.com"), batch("ada", number).entries))
        now = time.monotonic() + 1
        with step.interrupted_by(functools.partial(deliver_all, box)):
            call(box, now)
        deliver_all(box)
        assert adds_up(box), step.number
        assert (box.stats().waiting, box.stats().waiting_bytes) == (0, 0), step.number


def test_drop_old_makes_room_for_the_new(batch: MakeBatch) -> None:
    box = MemoryOutbox(linger=0.0, max_entries=3, max_bytes=10_000, drop_old=True)
    for number in range(5):
        box.put(batch(f"person-{number}", number))
    assert [ids(claim(box)) for _ in range(3)] == [["2"], ["3"], ["4"]]
