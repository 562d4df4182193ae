"""People are taken out of the outbox, wherever they wait; what others said stays, and the books add up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.delivery import Delivery
from koala_middleware.delivery.outbox.base import Outbox
from koala_middleware.delivery.outbox.durable import WINDOW, DurableOutbox
from koala_middleware.delivery.outbox.inspection import refused_entries, waiting_entries
from koala_middleware.delivery.outbox.memory import MemoryOutbox
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Account, Person, Subject

ADA = People.of(["ada@example.com"])


def batch(subject: Subject, entries: int = 1) -> Batch:
    return Batch(subject, tuple(Entry("track", b'{"type":"track"}') for _ in range(entries)))


def durable(directory: Path, **settings: Any) -> DurableOutbox:
    usual = {
        "linger": 0.0,
        "max_entries": 100_000,
        "max_bytes": 1 << 26,
        "max_age": 3600.0,
        "drop_old": False,
    }
    return DurableOutbox(directory, sync=False, memory_bytes=1 << 26, **{**usual, **settings})


@pytest.fixture(params=["memory", "durable"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Outbox:
    if request.param == "memory":
        return MemoryOutbox(linger=0.0, max_entries=100, max_bytes=1 << 20, drop_old=False)
    return durable(tmp_path)


def subjects(outbox: Outbox) -> list[Subject]:
    """Whose entries are claimed, one after the other, until nothing waits."""
    found: list[Subject] = []
    outbox.hurry(time.monotonic())  # the backlog too, at once
    deadline = time.monotonic() + 10.0
    while outbox.stats().waiting and time.monotonic() < deadline:
        if parcel := outbox.claim(time.monotonic()):
            found += [item.subject for item in parcel.items]
            outbox.done(parcel, list(parcel.items))
    return found


def adds_up(outbox: Outbox) -> bool:
    stats = outbox.stats()
    return stats.accepted == stats.delivered + stats.waiting + stats.refused + sum(stats.dropped.values())


def test_what_waits_of_a_person_goes_in_any_spelling_and_what_others_said_stays(outbox: Outbox) -> None:
    grace = Person("p2", "grace@example.com")
    outbox.put(batch(Person("p1", "Ada@Example.com"), 2))
    outbox.put(batch(grace))
    outbox.put(batch(Person(None, "ada@example.com")))

    assert outbox.purge(ADA) == 3

    assert outbox.stats().dropped == {"erased": 3}
    assert subjects(outbox) == [grace]
    assert adds_up(outbox)


def test_what_their_browser_did_without_a_name_goes_too(outbox: Outbox) -> None:
    outbox.put(batch(Person("p1", None)))
    outbox.put(batch(Person("p1", "ada@example.com")))

    assert outbox.purge(ADA) == 2
    assert subjects(outbox) == []


def test_another_person_in_the_same_browser_stays(outbox: Outbox) -> None:
    grace = Person("p1", "grace@example.com")
    outbox.put(batch(Person("p1", "ada@example.com")))
    outbox.put(batch(grace))

    assert outbox.purge(ADA) == 1
    assert subjects(outbox) == [grace]


def test_companies_stay(outbox: Outbox) -> None:
    outbox.put(batch(Account("example.com")))

    assert outbox.purge(ADA) == 0
    assert subjects(outbox) == [Account("example.com")]


def test_what_is_on_its_way_goes_when_it_came_back(outbox: Outbox) -> None:
    outbox.put(batch(Person("p1", "ada@example.com")))
    parcel = outbox.claim(time.monotonic())
    assert parcel is not None

    assert outbox.purge(ADA) == 0
    outbox.put_back(parcel, time.monotonic(), at=0.0)
    assert outbox.purge(ADA) == 1
    assert subjects(outbox) == []
    assert adds_up(outbox)


def test_what_comes_later_is_taken_in(outbox: Outbox) -> None:
    outbox.purge(ADA)
    outbox.put(batch(Person("p1", "ada@example.com")))

    assert len(subjects(outbox)) == 1


def test_a_flush_does_not_wait_for_what_was_purged(outbox: Outbox) -> None:
    outbox.put(batch(Person("p1", "ada@example.com")))
    round_ = outbox.hurry(time.monotonic())
    outbox.purge(ADA)

    assert outbox.settled(round_)


def test_what_lies_behind_on_disk_goes_unread(tmp_path: Path) -> None:
    outbox = durable(tmp_path)
    for number in range(WINDOW + 50):
        outbox.put(batch(Person(f"p{number}", "ada@example.com" if number % 2 else "grace@example.com")))

    assert outbox.purge(ADA) == (WINDOW + 50) // 2
    assert {subject.email for subject in subjects(outbox) if isinstance(subject, Person)} == {
        "grace@example.com"
    }
    assert outbox.stats().delivered == (WINDOW + 50) // 2
    assert not any(path.stat().st_size for path in tmp_path.glob("*.waiting"))
    assert adds_up(outbox)


def test_it_is_gone_for_the_next_process_too(tmp_path: Path) -> None:
    before = durable(tmp_path)
    before.put(batch(Person("p1", "ada@example.com")))
    before.put(batch(Person("p2", "grace@example.com")))
    before.purge(ADA)
    before.close()

    after = durable(tmp_path)
    after.tend(time.monotonic())

    assert subjects(after) == [Person("p2", "grace@example.com")]


def test_what_a_dead_process_left_and_what_was_refused_goes(tmp_path: Path) -> None:
    dead = durable(tmp_path)
    dead.put(batch(Person("p1", "ada@example.com")))
    dead.put(batch(Person("p2", "grace@example.com")))
    parcels = [dead.claim(time.monotonic()), dead.claim(time.monotonic())]
    for parcel in parcels:
        assert parcel is not None
        dead.refuse(parcel, list(parcel.items), "HTTP 422")
    dead.put(batch(Person("p1", "ada@example.com")))
    dead.put(batch(Person("p2", "grace@example.com")))
    dead.close()

    assert durable(tmp_path).purge(ADA) == 2

    assert [kept.item.subject for kept in refused_entries(tmp_path)] == [Person("p2", "grace@example.com")]
    assert [kept.item.subject for kept in waiting_entries(tmp_path) if kept] == [
        Person("p2", "grace@example.com")
    ]


def test_another_living_process_heeds_it_when_it_looks_around(tmp_path: Path) -> None:
    """Two outboxes on one directory hold each other's locks as two processes do."""
    other = durable(tmp_path)
    other.put(batch(Person("p1", "ada@example.com")))
    other.put(batch(Person("p2", "grace@example.com")))

    assert durable(tmp_path).purge(ADA) == 0
    other.put(batch(Person("p1", "ada@example.com")))  # later: not meant
    other.tend(time.monotonic())

    assert other.stats().dropped == {"erased": 1}
    assert set(subjects(other)) == {Person("p2", "grace@example.com"), Person("p1", "ada@example.com")}
    assert adds_up(other)


def test_a_note_says_nobodys_name_and_is_private(tmp_path: Path) -> None:
    outbox = durable(tmp_path)
    outbox.put(batch(Person("p1", "ada@example.com")))
    outbox.purge(ADA)

    (note,) = tmp_path.glob("*.purge")
    assert "ada" not in note.read_text()
    assert note.stat().st_mode & 0o777 == 0o600


def test_a_note_past_the_age_limit_is_deleted(tmp_path: Path) -> None:
    outbox = durable(tmp_path, max_age=0.0)
    outbox.put(batch(Person("p1", "ada@example.com")))
    outbox.purge(ADA)
    outbox.tend(time.monotonic())

    assert not list(tmp_path.glob("*.purge"))


def test_a_process_without_entries_of_its_own_purges_the_directory(tmp_path: Path) -> None:
    config = KoalaConfig(public_api_key="pk_1", outbox=str(tmp_path))
    dead = durable(tmp_path / "key-pk_1")
    dead.put(batch(Person("p1", "ada@example.com")))
    dead.close()

    assert Delivery(config).purge(["ada@example.com"]) == 1
    assert not list((tmp_path / "key-pk_1").glob("*.waiting"))


def test_nothing_to_purge_is_no_trouble(tmp_path: Path) -> None:
    assert Delivery(KoalaConfig(public_api_key="pk_1")).purge(["ada@example.com"]) == 0
    assert Delivery(KoalaConfig(public_api_key="pk_1", outbox=str(tmp_path / "none"))).purge(["ada@a.b"]) == 0
    assert durable(tmp_path / "new").purge(ADA) == 0
