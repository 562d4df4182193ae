"""What holds for every outbox: one set of tests, each run in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.boxes import Box, durable_box, ids_of, memory_box
from support.stats import adds_up

from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.schedule.items import Parcel
from koala_middleware.protocol.batches import Batch

MakeBox = Callable[..., Box]
MakeBatch = Callable[..., Batch]


@pytest.fixture(params=["memory", "durable"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> MakeBox:
    if request.param == "memory":
        return memory_box
    return lambda **settings: durable_box(tmp_path, **settings)


def ids(parcel: Parcel | None) -> list[str]:
    return ids_of(parcel.items) if parcel else []


def test_what_was_put_waits_until_it_is_delivered(box: MakeBox, batch: MakeBatch) -> None:
    outbox = box()
    outbox.put(batch("ada", 1, 2))
    assert outbox.stats().waiting == 2
    outbox.done(outbox.claimed())
    assert outbox.taken == ["1", "2"]
    stats = outbox.stats()
    assert (stats.delivered, stats.waiting, stats.waiting_bytes) == (2, 0, 0)
    assert adds_up(outbox)


def test_a_parcel_can_be_settled_in_parts(box: MakeBox, batch: MakeBatch) -> None:
    outbox = box()
    outbox.put(batch("ada", 1, 2, 3))
    parcel, now = outbox.claimed(), monotonic()
    one, two, _ = parcel.items
    outbox.done(parcel, [one])
    outbox.refuse(parcel, [two], "HTTP 400")
    assert outbox.claim(now) is None
    outbox.put_back(parcel, now, at=now)
    assert ids(outbox.claim()) == ["3"]
    stats = outbox.stats()
    assert (stats.delivered, stats.refused, stats.waiting) == (1, 1, 1)


@pytest.mark.parametrize("drop_old", [False, True])
def test_what_does_not_fit_is_dropped_and_counted(box: MakeBox, batch: MakeBatch, drop_old: bool) -> None:
    outbox = box(max_entries=10, max_bytes=1024, drop_old=drop_old)
    for number in range(50):
        outbox.put(batch(f"person-{number}", number))
    stats = outbox.stats()
    assert stats.accepted == 50
    assert 0 < stats.waiting <= 10
    assert stats.dropped == {"outbox full": 50 - stats.waiting}


def test_the_byte_limit_is_never_exceeded(box: MakeBox, batch: MakeBatch) -> None:
    outbox = box(max_entries=10_000, max_bytes=20_000)
    for number in range(500):
        outbox.put(batch(f"person-{number}", number, text="x" * (number % 200)))
        assert outbox.stats().waiting_bytes <= 20_000
    assert outbox.stats().waiting > 20
    assert adds_up(outbox)


def test_what_never_came_here_is_counted_by_its_reason(box: MakeBox) -> None:
    outbox = box()
    outbox.shared.intake.reject(7, "sampled")
    assert (outbox.stats().accepted, outbox.stats().dropped) == (7, {"sampled": 7})


def test_the_oldest_waiting_entry_has_an_age(box: MakeBox, batch: MakeBatch) -> None:
    outbox = box()
    assert outbox.stats().oldest_waiting_age is None
    outbox.put(batch("ada", 1))
    age = outbox.stats().oldest_waiting_age
    assert age is not None
    assert 0 <= age < 60


def test_parcels_that_were_out_at_the_close_change_nothing_afterwards(box: MakeBox, batch: MakeBatch) -> None:
    outbox = box()
    outbox.put(batch("ada", 1, 2))
    parcel = outbox.claimed()
    outbox.close()
    assert not outbox.lanes.is_out(parcel)
    assert adds_up(outbox)


def test_memory_counts_at_the_close_what_nobody_will_deliver(batch: MakeBatch) -> None:
    outbox = memory_box()
    outbox.put(batch("ada", 1, 2, 3))
    assert outbox.close().dropped == {"process ended": 3}


def test_drop_old_makes_room_for_the_new(batch: MakeBatch) -> None:
    outbox = memory_box(max_entries=3, drop_old=True)
    for number in range(5):
        outbox.put(batch(f"person-{number}", number))
    assert outbox.drain() == ["2", "3", "4"]


def test_drop_old_lets_in_no_more_than_twice_the_bound_before_the_dispatcher_makes_room(
    batch: MakeBatch,
) -> None:
    outbox = memory_box(max_entries=10, drop_old=True)
    for number in range(50):
        outbox.outbox.put(batch(f"person-{number}", number), monotonic())
    assert len(outbox.shared.inbox) == 20
    outbox.take_in()
    assert outbox.stats().dropped == {"outbox full": 40}
    assert outbox.stats().waiting == 10
