"""The schedule: whose entries leave next, and how many at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.boxes import ids_of

from koala_middleware.delivery.schedule.items import Parcel, Waiting
from koala_middleware.delivery.schedule.lanes import BULK_DRAIN_RATE, DRAIN_RATE, WORTH_A_BULK, Lanes
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.limits import BULK_LINES
from koala_middleware.protocol.subjects import Person

MakeBatch = Callable[..., Batch]


def add(lanes: Lanes, batch: Batch, now: float = 0.0, *, late: bool = False) -> None:
    for entry in batch.entries:
        lanes.add(Waiting(entry.kind, entry.body, batch.subject, batch.ip, now), now, late=late)


def claim(lanes: Lanes, now: float, most: int = 1) -> list[Parcel]:
    return lanes.claimed(list(lanes.claim(now, most)), now)


def put_back(lanes: Lanes, now: float, at: float) -> None:
    """The next parcel was sent, and failed."""
    (parcel,) = claim(lanes, now)
    lanes.put_back(parcel, now, at)


def ids(parcels: list[Parcel]) -> list[list[str]]:
    return [ids_of(parcel.items) for parcel in parcels]


def test_an_entry_is_due_after_a_moment_of_quiet_that_many_lanes_share(batch: MakeBatch) -> None:
    lanes = Lanes(linger=600.0)
    add(lanes, batch("ada", 1))
    assert claim(lanes, 0.0) == []
    assert 7 < lanes.next_due(0.0) <= 53  # quiet for 7.5, and on a beat of 45
    assert ids(claim(lanes, 53)) == [["1"]]


def test_what_one_person_did_meanwhile_shares_one_parcel(batch: MakeBatch) -> None:
    lanes = Lanes(linger=600.0)
    for number in range(3):
        add(lanes, batch("ada", number))
    assert ids(claim(lanes, 53)) == [["0", "1", "2"]]


def test_whoever_goes_on_is_waited_for_no_longer_than_the_linger(batch: MakeBatch) -> None:
    lanes = Lanes(linger=80.0)
    for second in range(81):
        add(lanes, batch("ada", second), float(second))
        assert not claim(lanes, second - 0.5), "it was sent before it was over"
    assert len(claim(lanes, 80.0)) == 1


def test_a_parcel_holds_thirty_of_a_kind_at_most(batch: MakeBatch) -> None:
    lanes = Lanes(linger=0.0)
    add(lanes, batch("ada", *range(65)))
    sizes = []
    while parcels := claim(lanes, 1.0):
        sizes.append(len(parcels[0].items))
        lanes.settle(parcels[0], parcels[0].items, 1.0)
    assert sizes == [30, 30, 5]
    assert lanes.entries == 0


def test_a_parcel_stays_below_the_byte_limit(batch: MakeBatch) -> None:
    lanes = Lanes(linger=0.0)
    add(lanes, batch("ada", 1, 2, 3, text="x" * 200_000))
    assert ids(claim(lanes, 0.0)) == [["1", "2"]]


def test_two_emails_on_one_profile_never_share_a_parcel() -> None:
    lanes = Lanes(linger=0.0)
    for number, email in enumerate(["ada@example.com", "grace@example.com"]):
        add(lanes, Batch(Person("p1", email), (Entry("identify", b'{"message_id":"%d"}' % number),)))
    assert ids(claim(lanes, 0.0)) == [["0"]]


def test_a_person_has_one_parcel_out_at_a_time_and_others_do_not_wait(batch: MakeBatch) -> None:
    lanes = Lanes(linger=0.0)
    add(lanes, batch("ada", 1))
    (first,) = claim(lanes, 0.0)
    add(lanes, batch("ada", 2))
    add(lanes, batch("grace", 3))
    assert ids(claim(lanes, 0.0)) == [["3"]]
    assert claim(lanes, 0.0) == []
    lanes.settle(first, first.items, 0.0)
    assert ids(claim(lanes, 0.0)) == [["2"]]


def test_what_is_put_back_comes_first_again_at_its_time(batch: MakeBatch) -> None:
    lanes = Lanes(linger=0.0)
    add(lanes, batch("ada", 1))
    (parcel,) = claim(lanes, 0.0)
    add(lanes, batch("ada", 2))
    lanes.put_back(parcel, 0.0, at=10.0)
    assert claim(lanes, 9.0) == []
    assert ids(claim(lanes, 11.0)) == [["1", "2"]]


def test_few_parcels_leave_one_by_one_and_many_together(batch: MakeBatch) -> None:
    lanes = Lanes(linger=0.0)
    for number in range(2 * WORTH_A_BULK):
        add(lanes, batch(f"person-{number}", number))
    assert len(claim(lanes, 0.0, BULK_LINES)) == 2 * WORTH_A_BULK
    for number in range(WORTH_A_BULK - 1):
        add(lanes, batch(f"another-{number}", f"another-{number}"))
    assert ids(claim(lanes, 0.0, BULK_LINES)) == [["another-0"]]
    assert ids(claim(lanes, 0.0, BULK_LINES)) == [["another-1"]]


@pytest.mark.parametrize(("failures", "together"), [(0, 1000), (1, 125), (2, 15), (3, 1), (4, 1)])
def test_what_failed_goes_with_ever_fewer_others(batch: MakeBatch, failures: int, together: int) -> None:
    lanes = Lanes(linger=0.0)
    add(lanes, batch("bad", "bad"))
    for _ in range(failures):
        put_back(lanes, 0.0, at=0.0)
    for number in range(BULK_LINES):
        add(lanes, batch(f"person-{number}", number))
    assert len(claim(lanes, 0.0, BULK_LINES)) == together


def test_after_an_outage_new_people_go_first_and_each_ones_order_is_kept(batch: MakeBatch) -> None:
    lanes = Lanes(linger=0.0)
    for number in range(3):
        add(lanes, batch(f"old-{number}", f"old-{number}"))
    lanes.make_late()
    add(lanes, batch("new", "new"))
    add(lanes, batch("old-0", "old-0 again"))
    assert ids(claim(lanes, 1.0)) == [["new"]]
    assert ids(claim(lanes, 1.0)) == [["old-0", "old-0 again"]]


def test_a_steady_stream_of_new_people_does_not_starve_the_backlog(batch: MakeBatch) -> None:
    lanes = Lanes(linger=0.0)
    add(lanes, batch("old", "old"))
    lanes.make_late()
    left = []
    for number in range(10):
        add(lanes, batch(f"new-{number}", "new"))
        left += ids(claim(lanes, 1.0))
    assert ["old"] in left


@pytest.mark.parametrize(("most", "rate"), [(1, DRAIN_RATE), (BULK_LINES, BULK_DRAIN_RATE)])
def test_the_backlog_drains_at_a_bounded_rate_that_grows_while_the_endpoint_takes_it(
    batch: MakeBatch, most: int, rate: float
) -> None:
    for speed in (1.0, 4.0):
        lanes = Lanes(linger=0.0)
        lanes.speed = speed
        for number in range(10_000):
            add(lanes, batch(f"old-{number}", number))
        lanes.make_late()
        out = sum(len(claim(lanes, step / 1000, most)) for step in range(1000))
        assert 0.5 <= out / (speed * rate) <= 1.5


def test_a_flush_hurries_what_waits_and_nothing_that_comes_later(batch: MakeBatch) -> None:
    lanes = Lanes(linger=600.0)
    add(lanes, batch("ada", 1))
    mark = lanes.hurry()
    add(lanes, batch("grace", 2))
    (parcel,) = claim(lanes, 0.0)
    assert (ids([parcel]), mark.left) == ([["1"]], 1)
    lanes.settle(parcel, parcel.items, 0.0)
    assert mark.left == 0
    assert claim(lanes, 0.0) == []


def test_what_is_read_from_a_file_is_older_than_what_waits_and_a_flush_waits_for_it(batch: MakeBatch) -> None:
    lanes = Lanes(linger=600.0)
    add(lanes, batch("ada", "new"), 100.0)
    mark = lanes.hurry()
    add(lanes, batch("ada", "old"), 50.0, late=True)
    assert mark.left == 2
    assert ids(claim(lanes, 100.0)) == [["old", "new"]]


@pytest.mark.parametrize("taken_out", ["purge", "clear"])
def test_whoever_was_taken_out_and_comes_again_has_one_place_in_the_queue(
    batch: MakeBatch, taken_out: str
) -> None:
    """As after an endpoint asked for patience with one person, who is then erased and speaks again."""
    lanes = Lanes(linger=0.0)
    ada = Person("ada", "ada@example.com")
    add(lanes, Batch(ada, batch("ada", 1).entries))
    put_back(lanes, 0.0, at=5.0)
    if taken_out == "purge":
        assert len(lanes.take_out(People.of(["ada@example.com"]))) == 1
    else:
        lanes.clear()
    add(lanes, batch("bo", 2))
    put_back(lanes, 1.0, at=6.0)
    add(lanes, Batch(ada, batch("ada", 3).entries))
    add(lanes, Batch(ada, batch("ada", 4).entries))
    assert ids(claim(lanes, 1.0) or claim(lanes, 5.5)) == [["3", "4"]]
    assert ids(claim(lanes, 7.0)) == [["2"]]


def test_the_oldest_makes_room_and_what_is_out_stays(batch: MakeBatch) -> None:
    lanes = Lanes(linger=0.0)
    add(lanes, batch("ada", 0))
    claim(lanes, 0.0)
    add(lanes, batch("ada", 1))
    add(lanes, batch("bo", 2))
    assert ids_of(list(iter(lanes.drop_oldest, None))) == ["2"]
    assert lanes.entries == 2


def test_a_clear_tells_what_the_endpoint_may_have_from_the_rest(batch: MakeBatch) -> None:
    lanes = Lanes(linger=0.0)
    for person in ("out", "asked", "fresh"):
        add(lanes, batch(person, person))
    (out,) = claim(lanes, 0.0)
    (asked,) = claim(lanes, 0.0)
    asked.items[0].unanswered = True
    lanes.put_back(asked, 0.0)
    unanswered, rest = lanes.clear()
    assert sorted(ids_of(unanswered)) == ["asked", "out"]
    assert ids_of(rest) == ["fresh"]
    assert (lanes.entries, len(lanes), lanes.is_out(out)) == (0, 0, False)
