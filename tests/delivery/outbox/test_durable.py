"""The durable outbox: what it keeps through crashes, damage and trouble with the disk."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from support.boxes import Box, durable_box
from support.interrupting import every_step
from support.stats import adds_up

from koala_middleware.delivery import clock
from koala_middleware.delivery.outbox import durable, inspection, log, segment
from koala_middleware.delivery.outbox.segment import Segment, decode, encode
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Account, Person

MakeBatch = Callable[..., Batch]
MakeBox = Callable[..., Box]


@pytest.fixture
def made() -> list[Box]:
    """All outboxes of the test, the newest last."""
    return []


@pytest.fixture
def box(tmp_path: Path, made: list[Box]) -> Iterator[MakeBox]:
    def make(directory: Path = tmp_path / "outbox", **settings: Any) -> Box:
        made.append(durable_box(directory, **settings))
        return made[-1]

    yield make
    for outbox in made:
        outbox.abandon()


def crash(outbox: Box) -> None:
    """All that the death of a process does to its files: they are closed, and so unlocked."""
    outbox.abandon()


def drain(outbox: Box) -> list[str]:
    return outbox.drain()


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
        dead.done(dead.claimed())
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
    sibling.tend()
    assert sibling.stats().adopted == 0
    crash(dying)
    sibling.tend()
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
    dead.claimed()
    dead.done(dead.claimed())
    crash(dead)
    [path] = (tmp_path / "outbox").glob("*.waiting")
    os.truncate(path, path.stat().st_size - 1)
    return path.parent


def test_a_torn_line_that_was_done_costs_no_other_entry(
    box: MakeBox, made: list[Box], torn_after_delivery: Path
) -> None:
    heir = box()
    heir.hurry()
    parcel = heir.claimed(clock.monotonic() + 60)
    heir.done(parcel, parcel.items[:1])
    crash(heir)
    assert drain(box()) == ["2"]
    assert [outbox.stats().adopted for outbox in made[1:]] == [2, 1]
    assert files(torn_after_delivery) == {}


@pytest.mark.usefixtures("torn_after_delivery")
def test_a_torn_line_that_was_done_does_not_spoil_the_count_of_what_is_deleted_by_hand(
    tmp_path: Path,
) -> None:
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
    dead.done(dead.claimed())
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
    assert outbox.lanes.entries <= durable.WINDOW
    assert outbox.stats().waiting == 4000
    taken = drain(outbox)
    for person in range(7):
        assert [int(id_) for id_ in taken if int(id_) % 7 == person] == list(range(person, 4000, 7))
    assert sum(files(tmp_path / "outbox").values()) == 0, "personal data stays on disk after its delivery"


def test_memory_does_not_fill_where_all_that_a_dead_process_left_is_of_one_visitor_who_is_back(
    box: MakeBox, batch: MakeBatch
) -> None:
    dead = box()
    for number in range(20_000):
        dead.put(batch("ada", number))
    crash(dead)
    heir = box()
    heir.put(batch("ada", 20_000))
    heir.hurry()
    most = 0
    while parcel := heir.claim(clock.monotonic() + 60):
        most = max(most, heir.lanes.entries)
        heir.done(parcel)
    assert len(heir.taken) == 20_001
    assert most <= 2 * durable.WINDOW + segment.READ_BYTES // 64  # and no line is so short


def test_a_person_with_entries_behind_is_not_overtaken_by_their_own_newer_ones(
    box: MakeBox, batch: MakeBatch
) -> None:
    outbox = box()
    last = durable.WINDOW + 4000  # more than is read at once
    for number in range(last + 1):
        outbox.put(batch(f"person-{number}", number))
    outbox.done(outbox.claimed())  # there is room in memory again
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


def test_a_visitor_does_not_overtake_their_own_older_entries_of_several_dead_processes(
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


def test_a_visitor_does_not_overtake_their_own_older_entries_beyond_what_memory_holds(
    box: MakeBox, batch: MakeBatch
) -> None:
    dead = box()
    for number in range(5000):
        dead.put(batch(f"person-{number}", number))
    crash(dead)
    heir = box()
    heir.hurry()
    heir.put(batch("person-4999", "newer"))
    heir.put(batch("somebody-else", "fresh"))
    taken = drain(heir)
    assert taken.index("fresh") < taken.index("4999") < taken.index("newer")


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


def test_what_a_dead_process_left_too_long_ago_is_dropped_and_counted(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = box(max_age=600.0)
    dead.put(batch("ada", 1, 2))
    crash(dead)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 3600)
    heir = box(max_age=600.0)
    heir.put(batch("grace", 3))
    assert drain(heir) == ["3"]
    assert heir.stats().dropped == {"too old": 2}


def test_what_grows_too_old_while_it_waits_is_dropped_as_well(box: MakeBox, batch: MakeBatch) -> None:
    outbox = box(max_age=600.0)
    outbox.outbox.put(batch("ada", 1, 2), clock.monotonic() - 601.0)
    outbox.put(batch("ada", 3))
    assert drain(outbox) == ["3"]
    assert outbox.stats().dropped == {"too old": 2}


def test_a_clock_that_is_set_forward_makes_nothing_too_old(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a clock of its own learns the time some seconds after it has started."""
    outbox, wall = box(), time.time
    for number in range(durable.WINDOW + 10):
        outbox.put(batch(f"person-{number}", number))
    monkeypatch.setattr(time, "time", lambda: wall() + 30 * 86400)
    outbox.tend()
    assert len(drain(outbox)) == durable.WINDOW + 10
    assert outbox.stats().dropped == {}


def test_what_was_written_before_the_clock_was_set_at_all_is_delivered(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(time, "time", lambda: 12.0)
        dead = box()
        dead.put(batch("ada", 1))
    crash(dead)
    for path in (dead.outbox._log.directory).iterdir():  # type: ignore[attr-defined]
        os.utime(path, (12.0, 12.0))
    assert drain(box()) == ["1"]


def put_at_any_step_of_a_put(box: MakeBox, batch: MakeBatch, tmp_path: Path) -> Iterator[Box]:
    """Outboxes in which a put was interrupted by another of the same thread, at each step in turn."""
    for step in every_step(durable, log, segment):
        outbox = box(tmp_path / f"{step.number}")
        inner = batch("grace", "within")
        with step.interrupted_by(partial(outbox.outbox.put, inner, clock.monotonic())):
            outbox.outbox.put(batch("ada", "outer"), clock.monotonic())
        if step.came:
            yield outbox
    assert step.number > 5


def test_a_put_at_any_step_of_another_of_its_own_thread_neither_hangs_nor_loses(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    """As from a signal handler or a finalizer: garbage is collected wherever the interpreter likes."""
    for outbox in put_at_any_step_of_a_put(box, batch, tmp_path):
        assert sorted(drain(outbox)) == ["outer", "within"]
        assert outbox.stats().waiting_bytes == 0
        assert adds_up(outbox)


def test_both_are_on_disk_as_soon_as_the_dispatcher_has_seen_them(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    for outbox in put_at_any_step_of_a_put(box, batch, tmp_path):
        outbox.take_in()
        crash(outbox)
        directory: Path = outbox.outbox._log.directory  # type: ignore[attr-defined]
        assert sorted(drain(box(directory))) == ["outer", "within"]


def test_a_handler_that_raises_at_any_step_of_a_put_costs_no_other_entry(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    """As Ctrl-C does, in whatever request it happens to come."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    for step in every_step(durable, log, segment):
        outbox = box(tmp_path / f"{step.number}")
        outbox.put(batch("ada", "before"))
        try:
            with step.interrupted_by(interrupt):
                outbox.outbox.put(batch("bo", "interrupted"), clock.monotonic())
        except KeyboardInterrupt:
            pass
        outbox.put(batch("ada", "after"))
        assert [one for one in drain(outbox) if one != "interrupted"] == ["before", "after"]
        assert adds_up(outbox)


def test_refused_entries_are_kept_aside_with_their_reason(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    outbox = box()
    outbox.put(batch("ada", 1))
    parcel = outbox.claimed()
    outbox.refuse(parcel, parcel.items, "HTTP 400 event is missing")
    [path] = (tmp_path / "outbox").glob("*.refused")
    assert b"event is missing" in path.read_bytes()
    assert outbox.stats().refused == 1


def test_a_file_in_the_way_of_the_folder_is_said_once_and_entries_wait_in_memory(
    box: MakeBox, batch: MakeBatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outbox").write_text("")
    outbox = box()
    with caplog.at_level(logging.WARNING, "koala_middleware"):
        for number in range(1, 20):
            outbox.put(batch("ada", number))
            outbox.tend()
    assert len(caplog.records) == 1
    assert "cannot be written" in outbox.outbox.trouble
    assert drain(outbox) == [str(number) for number in range(1, 20)]


def test_what_came_while_the_disk_was_in_trouble_is_written_once_it_is_not(
    box: MakeBox, batch: MakeBatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outbox").write_text("")
    outbox = box()
    for number in range(20):
        outbox.put(batch("ada", number))
    outbox.tend()
    (tmp_path / "outbox").unlink()
    outbox.tend()
    assert outbox.outbox.trouble == ""
    crash(outbox)
    assert drain(box()) == [str(number) for number in range(20)]
    assert "can be used again" in caplog.text


def test_files_that_are_deleted_under_us_are_written_again_and_new_entries_are_safe_at_once(
    box: MakeBox, batch: MakeBatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = box()
    outbox.put(batch("ada", 1))
    shutil.rmtree(tmp_path / "outbox")
    for _ in range(3):
        outbox.tend()
    outbox.put(batch("grace", 2))
    outbox.tend()
    assert len(caplog.records) == 1
    crash(outbox)
    assert sorted(drain(box())) == ["1", "2"]


def test_a_full_disk_costs_nothing_that_memory_can_hold(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Segment, lines: bytes, *, sync: bool) -> int:
        raise OSError(28, "No space left on device")

    outbox = box()
    outbox.put(batch("ada", 1))
    with monkeypatch.context() as patched:
        patched.setattr(Segment, "append", full)
        outbox.put(batch("ada", 2))
    outbox.tend()
    outbox.put(batch("ada", 3))
    assert outbox.stats().waiting == 3
    crash(outbox)
    assert drain(box()) == ["1", "2", "3"]


def test_a_file_that_cannot_be_read_now_is_kept_and_read_later(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = box()
    dead.put(batch("ada", 1, 2))
    crash(dead)
    heir = box()
    heir.hurry()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        assert heir.claim() is None
        assert "Input/output error" in heir.outbox.trouble
    later = clock.monotonic() + durable.READ_AGAIN + 1
    assert [len(parcel.items) for parcel in heir.claim_many(later, 1)] == [2]
    assert heir.stats().dropped == {}


def test_a_disk_that_stalls_again_and_again_stalls_no_caller_for_long(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the dispatcher writes; what it has seen is as safe as before."""
    outbox, began = box(), clock.monotonic()
    for _ in range(log.SLOW_IN_A_ROW):  # as if each write had ended much later than the put began
        outbox.outbox.put(batch("ada", "slow"), began - 10.0)
    outbox.take_in()
    outbox.outbox.put(batch("bo", "by the dispatcher"), clock.monotonic())
    assert "slow" in outbox.outbox.trouble
    (last,) = outbox.shared.inbox
    assert last[2] is None, "the caller has written"  # type: ignore[index]
    outbox.take_in()
    outbox.tend()
    assert outbox.outbox.trouble == ""
    crash(outbox)
    assert "by the dispatcher" in drain(box())


def test_a_short_write_leaves_no_torn_line_inside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment, write = Segment.create(tmp_path, 0.0), os.write
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
    worker, relay = box(hands_over=True), box()
    worker.put(batch("ada", 1, 2))
    assert worker.claim() is None
    worker.tend()
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


def test_a_put_that_a_close_overtakes_is_kept_and_counted(box: MakeBox, batch: MakeBatch) -> None:
    """It is written, and still lies in the inbox."""
    outbox = box()
    outbox.outbox.put(batch("ada", 1), clock.monotonic())
    outbox.close()
    outbox.take_in()
    assert outbox.stats().waiting == 1
    assert drain(box()) == ["1"]


def test_what_a_relay_took_over_waits_no_more_once_it_is_through(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "LOOK_AROUND", 0.0)
    worker, relay = box(hands_over=True), box()
    for number in range(3):
        worker.put(batch("ada", number))
        worker.tend()
    assert worker.stats().waiting == 3
    drain(relay)
    worker.tend()
    stats = worker.stats()
    assert (stats.accepted, stats.delivered, stats.waiting) == (3, 3, 0)


def test_what_others_delivered_between_a_close_and_the_next_entry_is_in_the_books(
    box: MakeBox, batch: MakeBatch
) -> None:
    outbox, sibling = box(), box()
    for number in range(10):
        outbox.put(batch(f"person-{number}", number))
    assert outbox.close().waiting == 10
    sibling.hurry()
    for _ in range(6):
        sibling.done(sibling.claimed())
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
    batch: MakeBatch, box: MakeBox, made: list[Box], tmp_path: Path
) -> None:
    outbox = box()
    outbox.put(batch("ada", 1))
    outbox.done(outbox.claimed())
    assert descriptors_in(tmp_path)
    made.clear()
    del outbox
    gc.collect()
    assert descriptors_in(tmp_path) == []
    assert files(tmp_path / "outbox") == {}


def test_what_waits_in_an_outbox_that_nobody_closed_is_for_others_to_deliver(
    batch: MakeBatch, box: MakeBox, made: list[Box]
) -> None:
    box().put(batch("ada", 1))
    made.clear()
    gc.collect()
    assert drain(box()) == ["1"]


def test_a_forked_child_that_collects_an_outbox_leaves_the_files_to_its_parent(
    run_python: Callable[..., subprocess.Popen[str]],
) -> None:
    tests = Path(__file__).parents[2]
    script = f"""
        import gc
        from pathlib import Path
        sys.path.insert(0, {str(tests)!r})
        from support.boxes import durable_box

        outbox = durable_box(Path("outbox"))
        outbox.put(batch("ada", 1))
        outbox.done(outbox.claimed())
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


# What lies in the folder


def test_new_visitors_overtake_a_backlog_that_is_not_theirs(box: MakeBox, batch: MakeBatch) -> None:
    dead = box(max_bytes=1 << 26)
    for number in range(20_000):
        dead.put(batch(f"person-{number}", number))
    crash(dead)
    heir = box(max_bytes=1 << 26)
    mark = heir.hurry()
    heir.lanes.relax(mark)  # nobody is in a hurry
    heir.claim()
    for number in range(500):
        heir.put(batch(f"new-{number}", f"new-{number}"))
    taken = heir.lanes.entries - heir.lanes.late_entries
    assert taken == 500, "new visitors wait behind the backlog"


def test_ten_thousand_orphans_take_a_few_descriptors(box: MakeBox, batch: MakeBatch, tmp_path: Path) -> None:
    worker = box(hands_over=True)
    for number in range(2_000):
        worker.put(batch(f"person-{number % 50}", number))
        worker.outbox._let_go()  # type: ignore[attr-defined]
    heir = box()
    heir.hurry()
    before = len(descriptors_in(tmp_path))
    assert before < 20
    most = 0
    while parcel := heir.claim(clock.monotonic() + 60):
        most = max(most, len(descriptors_in(tmp_path)))
        heir.done(parcel)
    assert most < 20
    for person in range(50):
        theirs = [int(id_) for id_ in heir.taken if int(id_) % 50 == person]
        assert theirs == list(range(person, 2_000, 50))
    assert files(tmp_path / "outbox") == {}


def test_of_several_processes_one_takes_over_what_dead_ones_left(box: MakeBox, batch: MakeBatch) -> None:
    """Two would read a dead process's files at the same time, and send what is in them out of order."""
    for life in range(4):
        dead = box()
        for number in range(5):
            dead.put(batch("ada", f"{life}-{number}"))
        crash(dead)
    first, second = box(), box()
    first.hurry()
    second.hurry()
    assert (first.stats().adopted, second.stats().adopted) == (20, 0)
    assert drain(first) == [f"{life}-{number}" for life in range(4) for number in range(5)]
    second.put(batch("bo", "later"))
    dead = box()
    dead.put(batch("ada", "another"))
    crash(dead)
    assert sorted(drain(second)) == ["another", "later"]


@pytest.mark.parametrize(
    "head",
    [b'{"person":{"profile_id":5}}', b'{"person":[1]}', b"[]", b'{"account":{"x":"y"}}', b"{}", b"nothing"],
)
def test_a_line_that_is_no_entry_costs_itself_alone_whatever_its_checksum_says(
    box: MakeBox, batch: MakeBatch, tmp_path: Path, head: bytes
) -> None:
    dead = box()
    dead.put(batch("ada", 1))
    crash(dead)
    [path] = (tmp_path / "outbox").glob("*.waiting")
    payload = b"track\t1790000000.000000\t%b\t{}" % head
    with path.open("ab") as file:
        file.write(b"%08x\t%b\n" % (crc32(payload), payload))
    heir = box()
    assert drain(heir) == ["1"]
    assert heir.stats().dropped == {"corrupt": 1}


def test_pipes_folders_and_links_among_the_files_stop_nothing(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    dead = box()
    dead.put(batch("ada", 1))
    crash(dead)
    directory, elsewhere = tmp_path / "outbox", tmp_path / "elsewhere"
    elsewhere.write_text("not ours to append to")
    [path] = directory.glob("*.waiting")
    path.with_suffix(".done").symlink_to(elsewhere)
    os.mkfifo(directory / "a.waiting")
    os.mkfifo(directory / "a.done")
    (directory / "b.waiting").mkdir()
    (directory / "c.waiting").symlink_to(elsewhere)
    (directory / "d.purge").write_text("[" * 100_000)
    heir = box()
    assert drain(heir) == ["1"]
    assert elsewhere.read_text() == "not ours to append to"
    assert "3 files are not ours" in heir.outbox.trouble


def test_a_folder_of_another_user_is_not_used(
    box: MakeBox, batch: MakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outbox").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    outbox = box()
    outbox.put(batch("ada", 1))
    assert "another user" in outbox.outbox.trouble
    assert list((tmp_path / "outbox").iterdir()) == []


def test_a_folder_that_others_may_write_to_is_closed_to_them(
    box: MakeBox, batch: MakeBatch, tmp_path: Path
) -> None:
    (tmp_path / "outbox").mkdir(mode=0o777)
    (tmp_path / "outbox").chmod(0o777)
    box().put(batch("ada", 1))
    assert stat.S_IMODE((tmp_path / "outbox").stat().st_mode) == 0o700


def test_refused_entries_take_no_room_from_what_waits(box: MakeBox, batch: MakeBatch) -> None:
    outbox = box(max_bytes=100_000)
    for number in range(400):
        outbox.put(batch(f"person-{number}", number, text="x" * 100))
        parcel = outbox.claimed()
        outbox.refuse(parcel, parcel.items, "HTTP 400")
    outbox.outbox.look_around(clock.monotonic())
    for number in range(200):
        outbox.put(batch(f"person-{number}", number, text="x" * 100))
    assert outbox.stats().dropped == {}
    assert (outbox.stats().refused, outbox.stats().waiting) == (400, 200)


def test_while_the_disk_is_in_trouble_nobody_overtakes_their_own_backlog(
    box: MakeBox, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = box()
    dead.put(batch("ada", "older"))
    crash(dead)
    heir = box()
    heir.hurry()
    with monkeypatch.context() as patched:
        patched.setattr(Segment, "append", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space")))
        heir.put(batch("ada", "newer"))
        heir.put(batch("bo", "bo"))
        drain(heir)
    drain(heir)
    assert heir.taken == ["bo", "older", "newer"]
    assert adds_up(heir)


def test_a_folder_that_an_older_version_has_written_is_delivered(box: MakeBox, tmp_path: Path) -> None:
    """Made by the code of November 2026: two files of one dead process, the first half done."""
    directory = tmp_path / "outbox"
    directory.mkdir(mode=0o700)
    for name, content in OLDER_VERSION.items():
        (directory / name).write_bytes(content)
    outbox = box(max_age=1e9)
    assert drain(outbox) == ["2", "3", "4"]
    assert files(directory) == {}


OLDER_VERSION = {
    "01796084446569119897-20537-0.done": (b"00000000 2242fe38\n"),
    "01796084446569119897-20537-0.waiting": (
        b'2242fe38\ttrack\t1796084446.569040\t{"person":{"profile_id":"ada","email":"ada@example.com"}}'
        b'\t{"message_id": "1"}\n'
        b'b6855a20\ttrack\t1796084446.569260\t{"person":{"profile_id":"bo"},"ip":"203.0.113.9"}'
        b'\t{"message_id": "2"}\n'
    ),
    "01796084446579904591-20537-1.waiting": (
        b'a6a7dee5\ttrack\t1796084446.579776\t{"account":{"domain":"example.com"}}'
        b'\t{"message_id": "3"}\n'
        b'dc1f2934\ttrack\t1796084446.580155\t{"person":{"email":"grace@example.com"}}'
        b'\t{"message_id": "4"}\n'
    ),
}
