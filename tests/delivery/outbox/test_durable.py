"""The durable outbox: what it keeps through crashes, damage and trouble with the disk."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.interrupting import every_step

from koala_middleware.delivery.outbox import durable, inspection, segment, spool
from koala_middleware.delivery.outbox.durable import DurableOutbox
from koala_middleware.delivery.outbox.segment import Place, Reading, Segment, decode, encode
from koala_middleware.delivery.schedule.lanes import Parcel
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Account, Person

MakeBatch = Callable[..., Batch]
MakeBox = Callable[..., DurableOutbox]


@pytest.fixture
def made() -> list[DurableOutbox]:
    """All outboxes of the test, the newest last."""
    return []


@pytest.fixture
def box(tmp_path: Path, made: list[DurableOutbox]) -> Iterator[MakeBox]:
    def make(directory: Path = tmp_path / "outbox", **settings: Any) -> DurableOutbox:
        defaults = {"linger": 0.0, "max_entries": 1000, "max_bytes": 1 << 22, "memory_bytes": 1 << 20}
        limits = {"max_age": 3600.0, "drop_old": False, "sync": False}
        made.append(DurableOutbox(directory, **{**defaults, **limits, **settings}))
        return made[-1]

    yield make
    for outbox in made:
        outbox.abandon()


def crash(outbox: DurableOutbox) -> None:
    """All that the death of a process does to its files: they are closed, and so unlocked."""
    outbox.abandon()


def drain(outbox: DurableOutbox) -> list[str]:
    """Adopts, delivers everything, and tells the message ids in the order they would have left."""
    round_, taken = outbox.hurry(time.monotonic()), []
    while not outbox.settled(round_):
        parcel = outbox.claim(time.monotonic() + 60)
        assert parcel is not None, "something waits and cannot be claimed"
        taken += [json.loads(item.body)["message_id"] for item in parcel.items]
        outbox.done(parcel, parcel.items)
    outbox.relax()
    return taken


def files(directory: Path) -> dict[str, int]:
    return {path.suffix: path.stat().st_size for path in directory.iterdir()}


def test_what_was_put_outlives_its_process_and_is_gone_once_delivered(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    dead = box()
    dead.put(batch("ada", 1, 2))
    dead.put(batch("grace", 3))
    crash(dead)
    heir = box()
    assert sorted(drain(heir)) == ["1", "2", "3"]
    stats = heir.stats()
    assert (stats.accepted, stats.adopted, stats.delivered, stats.waiting) == (3, 3, 3, 0)
    assert files(tmp_path / "outbox") == {}, "personal data stays on disk after its delivery"


def test_what_was_done_before_the_crash_is_not_sent_again(box: MakeBox, batch: MakeBatch) -> None:
    dead = box()
    for number in range(10):
        dead.put(batch(f"person-{number}", number))
    for _ in range(4):
        parcel = dead.claim(time.monotonic())
        assert parcel is not None
        dead.done(parcel, parcel.items)
    crash(dead)
    assert sorted(drain(box())) == ["4", "5", "6", "7", "8", "9"]


def test_a_living_process_is_left_alone(box: MakeBox, batch: MakeBatch) -> None:
    living = box()
    living.put(batch("ada", 1))
    other = box()
    assert drain(other) == []
    assert other.stats().accepted == 0
    assert drain(living) == ["1"]


def test_a_sibling_that_runs_takes_over_from_one_that_dies(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "LOOK_AROUND", 0.0)
    dying, sibling = box(), box()
    dying.put(batch("ada", 1))
    sibling.put(batch("grace", 2))
    sibling.tend(time.monotonic())
    assert sibling.stats().adopted == 0
    crash(dying)
    sibling.tend(time.monotonic())
    assert sibling.stats().adopted == 1
    assert sorted(drain(sibling)) == ["1", "2"]


def test_files_are_for_their_owner_alone(box: MakeBox, batch: MakeBatch, tmp_path: Path) -> None:
    box().put(batch("ada", 1))
    directory = tmp_path / "outbox"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_a_torn_last_line_was_never_accepted(box: MakeBox, batch: MakeBatch, tmp_path: Path) -> None:
    dead = box()
    dead.put(batch("ada", 1, 2))
    crash(dead)
    [path] = (tmp_path / "outbox").glob("*.waiting")
    os.truncate(path, path.stat().st_size - 5)
    heir = box()
    assert drain(heir) == ["1"]
    assert heir.stats().dropped == {}


@pytest.fixture
def torn_after_delivery(box: MakeBox, batch: MakeBatch, tmp_path: Path) -> Path:
    """An orphan's directory: the last of its three entries is delivered, and has lost its line's end since."""
    dead = box()
    dead.put(batch("ada", 1, 2))
    dead.put(batch("grace", 3))
    dead.claim(time.monotonic())
    last = dead.claim(time.monotonic())
    assert last is not None
    dead.done(last, last.items)
    crash(dead)
    [path] = (tmp_path / "outbox").glob("*.waiting")
    os.truncate(path, path.stat().st_size - 1)
    return path.parent


def test_a_torn_line_that_was_done_costs_no_other_entry(
    box: MakeBox, made: list[DurableOutbox], torn_after_delivery: Path
) -> None:
    heir = box()
    heir.hurry(time.monotonic())
    parcel = heir.claim(time.monotonic() + 60)
    assert parcel is not None
    heir.done(parcel, parcel.items[:1])
    crash(heir)
    assert drain(box()) == ["2"]
    assert [outbox.stats().adopted for outbox in made[1:]] == [2, 1]
    assert files(torn_after_delivery) == {}


@pytest.mark.usefixtures("torn_after_delivery")
def test_nor_does_it_spoil_the_count_of_what_is_deleted_by_hand(tmp_path: Path) -> None:
    assert inspection.delete_orphans(tmp_path / "outbox") == 2


def test_a_damaged_line_costs_itself_alone_and_is_counted(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    dead = box()
    dead.put(batch("ada", "one", "two", "three"))
    crash(dead)
    [path] = (tmp_path / "outbox").glob("*.waiting")
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"TWO"'))
    heir = box()
    assert drain(heir) == ["one", "three"]
    assert heir.stats().dropped == {"corrupt": 1}


def test_a_damaged_mark_only_means_that_an_entry_is_sent_again(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    dead = box()
    dead.put(batch("ada", 1))
    dead.put(batch("grace", 2))
    parcel = dead.claim(time.monotonic())
    assert parcel is not None
    dead.done(parcel, parcel.items)
    crash(dead)
    [path] = (tmp_path / "outbox").glob("*.done")
    path.write_bytes(b"0000000z" + path.read_bytes()[8:])
    assert sorted(drain(box())) == ["1", "2"]


def test_a_mark_can_never_take_away_an_entry_it_was_not_made_for(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    dead = box()
    dead.put(batch("ada", 1))
    crash(dead)
    [path] = (tmp_path / "outbox").glob("*.waiting")
    path.with_suffix(".done").write_bytes(b"00000000 deadbeef\n")
    assert drain(box()) == ["1"]


def test_much_more_than_memory_holds_waits_on_disk_and_leaves_in_order(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    outbox = box()
    for number in range(4000):
        outbox.put(batch(f"person-{number % 7}", number))
    in_memory = sum(1 for _ in outbox._lanes.everything())
    assert in_memory <= durable.WINDOW
    assert outbox.stats().waiting == 4000
    taken = drain(outbox)
    for person in range(7):
        assert [int(id_) for id_ in taken if int(id_) % 7 == person] == list(range(person, 4000, 7))
    assert sum(files(tmp_path / "outbox").values()) == 0, "personal data stays on disk after its delivery"


def test_nor_does_memory_fill_where_all_that_a_dead_process_left_is_of_one_who_is_here_again(
    box: MakeBox, batch: MakeBatch
) -> None:
    dead = box()
    for number in range(20_000):
        dead.put(batch("ada", number))
    crash(dead)
    heir = box()
    heir.put(batch("ada", 20_000))
    heir.hurry(time.monotonic())
    taken, most = 0, 0
    while parcel := heir.claim(time.monotonic() + 60):
        most = max(most, sum(1 for _ in heir._lanes.everything()))
        taken += len(parcel.items)
        heir.done(parcel, parcel.items)
    assert taken == 20_001
    assert most <= 2 * durable.WINDOW + spool.READ_BYTES // 64  # and no line is so short


def test_a_person_with_entries_behind_is_not_overtaken_by_their_own_newer_ones(
    box: MakeBox, batch: MakeBatch
) -> None:
    outbox = box()
    last = durable.WINDOW + 4000  # more than is read at once
    for number in range(last + 1):
        outbox.put(batch(f"person-{number}", number))
    parcel = outbox.claim(time.monotonic())
    assert parcel is not None
    outbox.done(parcel, parcel.items)  # there is room in memory again
    outbox.put(batch(f"person-{last}", "newer"))
    taken = drain(outbox)
    assert taken.index(str(last)) < taken.index("newer")


def test_who_speaks_right_after_a_restart_does_not_overtake_their_own_older_entries(
    box: MakeBox, batch: MakeBatch
) -> None:
    dead = box()
    dead.put(batch("ada", "first"))
    dead.put(batch("ada", "second"))
    crash(dead)
    heir = box()
    heir.put(batch("ada", "third"))
    assert drain(heir) == ["first", "second", "third"]


def test_nor_where_several_processes_died_and_any_of_them_may_have_had_theirs(
    box: MakeBox, batch: MakeBatch
) -> None:
    processes = [box() for _ in range(3)]
    for number, dead in enumerate(processes):
        dead.put(batch(f"person-{number}", f"older-{number}"))
    for dead in processes:
        crash(dead)
    heir = box()
    for number in range(3):
        heir.put(batch(f"person-{number}", f"newer-{number}"))
    taken = drain(heir)
    for number in range(3):
        assert taken.index(f"older-{number}") < taken.index(f"newer-{number}")


def test_nor_who_speaks_while_the_dead_process_s_entries_are_more_than_memory_holds(
    box: MakeBox, batch: MakeBatch
) -> None:
    dead = box()
    for number in range(5000):
        dead.put(batch(f"person-{number}", number))
    crash(dead)
    heir = box()
    heir.hurry(time.monotonic())
    heir.put(batch("person-4999", "newer"))
    heir.put(batch("somebody-else", "fresh"))
    taken = drain(heir)
    assert taken.index("fresh") < taken.index("4999") < taken.index("newer")


def test_what_is_put_behind_while_the_backlog_is_read_is_not_given_up_with_a_file_that_has_no_more(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One's own file behind is read to its end, while a dead process's waits after it."""
    dead, outbox = box(), box()
    dead.put(batch("ada", "orphan"))
    last = durable.WINDOW
    for number in range(last + 1):
        outbox.put(batch(f"person-{number}", number))
    crash(dead)
    outbox.hurry(time.monotonic())
    reads, read = count(1), Segment.read

    def read_and_be_overtaken(self: Segment, most_bytes: int) -> Reading:
        reading = read(self, most_bytes)
        if next(reads) == 2:
            outbox.put(batch(f"person-{last}", "newer"))
        return reading

    monkeypatch.setattr(Segment, "read", read_and_be_overtaken)
    taken = drain(outbox)
    assert outbox.stats().dropped == {}
    assert taken.index(f"{last}") < taken.index("newer")


def test_the_whole_directory_stays_below_the_byte_limit(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    outbox = box(max_bytes=300_000)
    for number in range(4000):
        outbox.put(batch(f"person-{number}", number))
        if number % 100 == 0:
            assert sum(files(tmp_path / "outbox").values()) <= 300_000
    stats = outbox.stats()
    assert stats.waiting == len(drain(outbox))
    assert stats.waiting + stats.dropped["outbox full"] == 4000


def test_drop_old_makes_room_on_disk_by_whole_segments(box: MakeBox, batch: MakeBatch) -> None:
    outbox = box(max_bytes=300_000, drop_old=True)
    for number in range(6000):
        outbox.put(batch(f"person-{number}", number))
    stats = outbox.stats()
    assert stats.accepted == stats.waiting + stats.dropped["outbox full"] == 6000
    taken = drain(outbox)
    assert len(taken) == stats.waiting
    assert "5999" in taken


def test_a_clock_that_is_set_back_changes_no_order(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, clock = box(), time.time
    for number in range(1000):  # what comes after so many waits on disk alone
        outbox.put(batch(f"person-{number}", f"fresh-{number}"))
    outbox.put(batch("ada", "1"))
    monkeypatch.setattr(time, "time", lambda: clock() - 60)
    outbox.put(batch("ada", "2"))
    assert [one for one in drain(outbox) if not one.startswith("fresh")] == ["1", "2"]


def test_what_is_too_old_is_dropped_and_counted(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = box(max_age=60.0)
    dead.put(batch("ada", 1, 2))
    crash(dead)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 3600)
    heir = box(max_age=60.0)
    heir.put(batch("grace", 3))
    assert drain(heir) == ["3"]
    assert heir.stats().dropped == {"too old": 2}


def test_what_grows_too_old_while_it_waits_is_dropped_as_well(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = box(max_age=60.0)
    outbox.put(batch("ada", 1, 2))
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 3600)
    outbox.put(batch("ada", 3))
    assert drain(outbox) == ["3"]
    assert outbox.stats().dropped == {"too old": 2}


def test_a_put_in_the_middle_of_a_write_of_the_same_thread_spoils_nothing(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a signal handler; between the write and the note of where it went."""
    outbox, write, nested = box(), os.write, iter([batch("nested", "nested")])

    def write_and_be_interrupted(descriptor: int, text: bytes) -> int:
        written = write(descriptor, text)
        if inner := next(nested, None):
            outbox.put(inner)
        return written

    monkeypatch.setattr(os, "write", write_and_be_interrupted)
    outbox.put(batch("ada", 1))
    monkeypatch.undo()
    assert outbox.stats().accepted == 2
    outbox.put(batch("grace", 2))
    for _ in range(2):  # "nested", which only memory has, and "1"
        parcel = outbox.claim(time.monotonic())
        assert parcel is not None
        outbox.done(parcel, parcel.items)
    crash(outbox)
    assert drain(box()) == ["2"], "what was done is sent again: its place was wrong"


def settled_with_a_put_within(box: MakeBox, batch: MakeBatch, tmp_path: Path) -> Iterator[Path]:
    """Directories whose outbox took one more entry while it settled another, at each step in turn. As from a
    finaliser: garbage is collected wherever the interpreter likes."""
    for step in every_step(durable, spool, segment):
        directory = tmp_path / f"{step.number}"
        outbox = box(directory)
        outbox.put(batch("ada", 1))
        parcel = outbox.claim(time.monotonic())
        assert parcel is not None
        put = partial(outbox.put, batch("grace", "within"))
        with step.interrupted_by(put):
            outbox.done(parcel, parcel.items)
        if step.came:
            yield directory
    assert step.number > 11


def test_what_is_put_at_any_step_of_a_settling_survives(
    box: MakeBox, made: list[DurableOutbox], batch: MakeBatch, tmp_path: Path
) -> None:
    for directory in settled_with_a_put_within(box, batch, tmp_path):
        crash(made[-1])
        assert drain(box(directory)) == ["within"]


def test_and_the_books_say_how_many_bytes_it_takes(
    box: MakeBox, made: list[DurableOutbox], batch: MakeBatch, tmp_path: Path
) -> None:
    for directory in settled_with_a_put_within(box, batch, tmp_path):
        assert made[-1].stats().waiting_bytes > 0
        assert drain(made[-1]) == ["within"]
        assert made[-1].stats().waiting_bytes == 0, directory


def test_refused_entries_are_kept_aside_with_their_reason(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    outbox = box()
    outbox.put(batch("ada", 1))
    parcel = outbox.claim(time.monotonic())
    assert parcel is not None
    outbox.refuse(parcel, parcel.items, "HTTP 400 event is missing")
    [path] = (tmp_path / "outbox").glob("*.refused")
    assert b"event is missing" in path.read_bytes()
    assert outbox.stats().refused == 1


@pytest.mark.parametrize("trouble", ["a file is in the way", "vanished"])
def test_trouble_with_the_directory_falls_back_to_memory_with_one_line(
    box: MakeBox,
    batch: MakeBatch,
    tmp_path: Path,
    trouble: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory = tmp_path / "outbox"
    outbox = box(directory)
    if trouble == "a file is in the way":
        directory.write_text("")
    else:
        outbox.put(batch("grace", 0))
        shutil.rmtree(directory)
        outbox.tend(time.monotonic())
    with caplog.at_level(logging.WARNING, "koala_middleware"):
        for number in range(1, 20):
            outbox.put(batch("ada", number))
            outbox.tend(time.monotonic())
    assert len(caplog.records) <= 1
    assert outbox.stats().waiting >= 19
    taken = [id_ for id_ in drain(outbox) if id_ != "0"]
    assert taken == [str(number) for number in range(1, 20)]


def test_a_full_disk_costs_nothing_that_memory_can_hold(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_written(self: Segment, lines: bytes, *, sync: bool) -> int:
        raise OSError(28, "No space left on device")

    outbox = box()
    outbox.put(batch("ada", 1))
    monkeypatch.setattr(Segment, "append", half_written)
    outbox.put(batch("ada", 2))
    monkeypatch.undo()
    monkeypatch.setattr(durable, "TROUBLE_PAUSE", 0.0)
    outbox._try_disk_at = 0.0  # the pause is over
    outbox.put(batch("ada", 3))
    assert outbox.stats().waiting == 3
    assert drain(outbox) == ["1", "2", "3"]


def test_a_short_write_leaves_no_torn_line_inside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment, write = Segment.create(tmp_path), os.write
    line = encode(Person("ada"), Entry("track", b'{"message_id":"1"}'), None, 1.0)
    segment.append(line, sync=False)
    monkeypatch.setattr(os, "write", lambda descriptor, text: write(descriptor, text[:10]))
    with pytest.raises(OSError, match="no space"):
        segment.append(line, sync=False)
    monkeypatch.undo()
    segment.append(line, sync=True)
    assert segment.path.read_bytes() == line * 2
    segment.close()


@pytest.mark.parametrize(
    "subject",
    [
        Person("p1"),
        Person(None, "ada@example.com"),
        Person("p1", "ad\ta\n@example.com"),
        Account("example.com"),
        Account(None, "acme"),
    ],
)
def test_a_line_says_an_entry_and_nothing_is_lost_in_it(subject: Person | Account) -> None:
    line = encode(subject, Entry("page", b'{"a":\n1,\t"b":"\xc3\xa9"}'), "203.0.113.9", 1_790_000_000.125)
    assert line.count(b"\n") == 1
    item = decode(line[:-1])
    assert item is not None
    assert (item.subject, item.ip, item.at) == (subject, "203.0.113.9", 1_790_000_000.125)
    assert json.loads(item.body) == {"a": 1, "b": "é"}


def test_a_relay_takes_over_what_web_workers_hand_over(box: MakeBox, batch: MakeBatch) -> None:
    worker, relay = box(hand_over=True), box()
    worker.put(batch("ada", 1, 2))
    assert worker.claim(time.monotonic()) is None
    worker.tend(time.monotonic())
    assert drain(relay) == ["1", "2"]
    worker.put(batch("ada", 3))
    worker.close()
    assert drain(relay) == ["3"]
    assert worker.stats().accepted == 3


def test_after_a_close_the_same_outbox_finds_its_own_entries_again_and_counts_them_once(
    box: MakeBox, batch: MakeBatch
) -> None:
    outbox = box()
    outbox.put(batch("ada", 1))
    assert outbox.close().waiting == 1
    outbox.put(batch("grace", 2))
    assert sorted(drain(outbox)) == ["1", "2"]
    stats = outbox.stats()
    assert (stats.accepted, stats.delivered, stats.waiting, stats.adopted) == (2, 2, 0, 0)


class Contended:
    """A re-entrant lock that says when a thread has to wait for it."""

    def __init__(self, waits: threading.Event) -> None:
        self._lock = threading.RLock()
        self._waits = waits

    def acquire(self, blocking: bool = True) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        if blocking:
            self._waits.set()
            self._lock.acquire()
        return blocking

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def claimed(outbox: DurableOutbox) -> Parcel:
    parcel = outbox.claim(time.monotonic() + 60)
    assert parcel is not None
    return parcel


def done(outbox: DurableOutbox) -> None:
    parcel = claimed(outbox)
    outbox.done(parcel, parcel.items)


def refused(outbox: DurableOutbox) -> None:
    parcel = claimed(outbox)
    outbox.refuse(parcel, parcel.items, "HTTP 400")


SETTLINGS: dict[str, Callable[[DurableOutbox], object]] = {
    "done": done,
    "done in a bulk": lambda outbox: outbox.done_all([claimed(outbox)]),
    "refused": refused,
    "too old": lambda outbox: outbox.claim(time.monotonic() + 60),
    "erased": lambda outbox: outbox.purge(People.of(["ada@example.com"])),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("fate", SETTLINGS)
def test_what_is_settled_while_another_thread_closes_is_in_the_books_once(
    box: MakeBox, fate: str, moment: str
) -> None:
    """The close begins right before or after the mark on the disk."""
    outbox = box(max_age=-1.0 if fate == "too old" else 3600.0)
    outbox.put(Batch(Person(None, "ada@example.com"), (Entry("track", b"{}"),)))
    closed_or_waits, finish = threading.Event(), outbox._spool.finish
    outbox._lock, outbox._spool.lock = Contended(closed_or_waits), Contended(closed_or_waits)  # type: ignore[assignment]  # what it uses of one

    def close() -> None:
        outbox.close()
        closed_or_waits.set()

    closing = threading.Thread(target=close)

    def be_overtaken() -> None:
        closing.start()
        assert closed_or_waits.wait(20)

    def finish_and_be_overtaken(places: Sequence[Place]) -> None:
        if moment == "before":
            be_overtaken()
        finish(places)
        if moment == "after":
            be_overtaken()

    outbox._spool.finish = finish_and_be_overtaken  # type: ignore[method-assign]  # this one's alone
    SETTLINGS[fate](outbox)
    closing.join(20)
    stats = outbox.stats()
    assert stats.accepted == 1
    assert stats.waiting + stats.delivered + stats.refused + sum(stats.dropped.values()) == 1


def test_a_close_while_entries_are_read_from_the_disk_leaves_the_books_right(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, read = box(), Segment.read
    for number in range(durable.WINDOW + 100):
        outbox.put(batch(f"person-{number}", number))

    def read_and_be_overtaken(self: Segment, most_bytes: int) -> Reading:
        reading = read(self, most_bytes)
        outbox.close()
        return reading

    monkeypatch.setattr(Segment, "read", read_and_be_overtaken)
    assert outbox.claim(time.monotonic() + 60) is None
    monkeypatch.undo()
    stats = outbox.stats()
    assert stats.accepted == stats.waiting == durable.WINDOW + 100
    assert len(drain(box())) == durable.WINDOW + 100


def test_what_a_relay_took_over_waits_no_more_once_it_is_through(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "LOOK_AROUND", 0.0)
    worker, relay = box(hand_over=True), box()
    for number in range(3):
        worker.put(batch("ada", number))
        worker.tend(time.monotonic())
    assert worker.stats().waiting == 3
    drain(relay)
    stats = worker.stats()
    assert (stats.accepted, stats.delivered, stats.waiting) == (3, 3, 0)
    assert not worker._kept, "it grows with each hand-over"


def test_what_others_delivered_between_a_close_and_the_next_entry_is_in_the_books(
    box: MakeBox, batch: MakeBatch
) -> None:
    outbox, sibling = box(), box()
    for number in range(10):
        outbox.put(batch(f"person-{number}", number))
    assert outbox.close().waiting == 10
    sibling.hurry(time.monotonic())
    for _ in range(6):
        done(sibling)
    sibling.close()
    outbox.put(batch("ada", "new"))
    assert len(drain(outbox)) == 5
    stats = outbox.stats()
    assert (stats.accepted, stats.delivered, stats.waiting) == (11, 11, 0)


def descriptors_in(directory: Path) -> list[str]:
    """What this process has open there."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith(str(directory))]


def test_an_outbox_that_nobody_closed_leaves_nothing_open_or_empty_once_it_is_collected(
    batch: MakeBatch, box: MakeBox, made: list[DurableOutbox], tmp_path: Path
) -> None:
    outbox = box()
    outbox.put(batch("ada", 1))
    done(outbox)
    assert descriptors_in(tmp_path)
    made.clear()
    del outbox
    gc.collect()
    assert descriptors_in(tmp_path) == []
    assert files(tmp_path / "outbox") == {}


def test_and_what_waits_in_it_is_for_others_to_deliver(
    batch: MakeBatch, box: MakeBox, made: list[DurableOutbox]
) -> None:
    box().put(batch("ada", 1))
    made.clear()
    gc.collect()
    assert drain(box()) == ["1"]


def test_but_in_a_forked_child_that_collects_it_the_files_stay_the_parents(
    run_python: Callable[..., subprocess.Popen[str]],
) -> None:
    script = """
        import gc
        from pathlib import Path
        from koala_middleware.delivery.outbox.durable import DurableOutbox

        limits = dict(linger=0, max_entries=10, max_bytes=1 << 20, memory_bytes=1 << 20, max_age=60)
        outbox = DurableOutbox(Path("outbox"), **limits, drop_old=False, sync=False)
        outbox.put(batch("ada", 1))
        parcel = outbox.claim(time.monotonic())
        outbox.done(parcel, parcel.items)
        before = os.listdir("outbox")
        if os.fork() == 0:
            del outbox
            gc.collect()
            os._exit(0)
        assert os.wait()[1] == 0
        assert os.listdir("outbox") == before != []
    """
    process = run_python(script)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
