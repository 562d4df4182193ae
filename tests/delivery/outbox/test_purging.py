"""People are taken out of the outbox, wherever they wait; what others said stays, and the books add up."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.boxes import Box, durable_box, memory_box
from support.stats import adds_up

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.delivery import Delivery
from koala_middleware.delivery.outbox.durable import WINDOW
from koala_middleware.delivery.outbox.inspection import refused_entries, waiting_entries
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Account, Person, Subject

ADA = People.of(["ada@example.com"])


def batch(subject: Subject, entries: int = 1) -> Batch:
    return Batch(subject, tuple(Entry("track", b'{"type":"track"}') for _ in range(entries)))


durable = durable_box


@pytest.fixture(params=["memory", "durable"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Box:
    return memory_box() if request.param == "memory" else durable(tmp_path)


def subjects(outbox: Box) -> list[Subject]:
    """Whose entries are delivered, one after the other, until nothing waits."""
    found: list[Subject] = []
    mark = outbox.hurry()  # the backlog too, at once
    while parcel := outbox.claim():
        found += [item.subject for item in parcel.items]
        outbox.done(parcel)
    outbox.lanes.relax(mark)
    return found


def test_what_waits_of_a_person_goes_in_any_spelling_and_what_others_said_stays(outbox: Box) -> None:
    grace = Person("p2", "grace@example.com")
    outbox.put(batch(Person("p1", "Ada@Example.com"), 2))
    outbox.put(batch(grace))
    outbox.put(batch(Person(None, "ada@example.com")))

    assert outbox.purge(ADA) == 3

    assert outbox.stats().dropped == {"erased": 3}
    assert subjects(outbox) == [grace]
    assert adds_up(outbox)


def test_what_their_browser_did_without_a_name_goes_too(outbox: Box) -> None:
    outbox.put(batch(Person("p1", None)))
    outbox.put(batch(Person("p1", "ada@example.com")))

    assert outbox.purge(ADA) == 2
    assert subjects(outbox) == []


def test_another_person_in_the_same_browser_stays(outbox: Box) -> None:
    grace = Person("p1", "grace@example.com")
    outbox.put(batch(Person("p1", "ada@example.com")))
    outbox.put(batch(grace))

    assert outbox.purge(ADA) == 1
    assert subjects(outbox) == [grace]


def test_companies_stay(outbox: Box) -> None:
    outbox.put(batch(Account("example.com")))

    assert outbox.purge(ADA) == 0
    assert subjects(outbox) == [Account("example.com")]


def test_what_is_on_its_way_goes_when_it_came_back(outbox: Box) -> None:
    outbox.put(batch(Person("p1", "ada@example.com")))
    parcel = outbox.claimed()

    assert outbox.purge(ADA) == 0
    outbox.put_back(parcel, monotonic(), at=0.0)
    assert outbox.purge(ADA) == 1
    assert subjects(outbox) == []
    assert adds_up(outbox)


def test_what_comes_later_is_taken_in(outbox: Box) -> None:
    outbox.purge(ADA)
    outbox.put(batch(Person("p1", "ada@example.com")))

    assert len(subjects(outbox)) == 1


def test_a_flush_does_not_wait_for_what_was_purged(outbox: Box) -> None:
    outbox.put(batch(Person("p1", "ada@example.com")))
    mark = outbox.hurry()
    outbox.purge(ADA)

    assert mark.left == 0


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
    after.tend()

    assert subjects(after) == [Person("p2", "grace@example.com")]


def test_what_a_dead_process_left_and_what_was_refused_goes(tmp_path: Path) -> None:
    dead = durable(tmp_path)
    dead.put(batch(Person("p1", "ada@example.com")))
    dead.put(batch(Person("p2", "grace@example.com")))
    for parcel in [dead.claimed(), dead.claimed()]:
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
    other.tend()

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
    outbox.tend()

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
