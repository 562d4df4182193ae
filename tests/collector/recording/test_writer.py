"""Group commit: a bad member does not spoil its group, and what cannot be written soon is not taken."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from support.collecting import DEADLINE, Database, Running, event, on_both_stores

from koala_middleware.collector.recording import writer as writing
from koala_middleware.collector.recording.writer import QueueFull, Writer
from koala_middleware.collector.store.opening import open_store
from koala_middleware.collector.store.rows import ReceivedRequest
from koala_middleware.collector.store.sqlite.ledger import SqliteLedger
from koala_middleware.collector.store.sqlite.store import SqliteStore
from koala_middleware.collector.validation.checked import IncomingBatch
from koala_middleware.collector.validation.parsing import parse_person_batch

NOW = 1_700_000_000_000


def received(number: int) -> ReceivedRequest:
    batch = parse_person_batch(
        "pk", b'{"email": "p%d@example.com", "events": [{"event": "x"}]}' % number, NOW
    )
    return ReceivedRequest("pk", "/batch", NOW, b"", "tests", batch=batch)


def broken() -> ReceivedRequest:
    """A batch that passes no check of ours and fails in the database: a number where a text must be."""
    request = received(99)
    assert isinstance(request.batch, IncomingBatch)
    request.batch.entries[0].message_id = object()  # type: ignore[assignment]  # what fails
    return request


class Answers:
    def __init__(self, expected: int) -> None:
        self.got: dict[int, int | Exception] = {}
        self.all = threading.Event()
        self._expected = expected

    def settled(self, answers: list[tuple[writing.OnStored, int | Exception]]) -> None:
        for answer, outcome in answers:
            answer(outcome)
        if len(self.got) == self._expected:
            self.all.set()

    def slot(self, number: int) -> writing.OnStored:
        return lambda outcome: self.got.__setitem__(number, outcome)


@on_both_stores
def test_a_batch_that_fails_does_not_spoil_its_group(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    store, answers = open_store(database), Answers(5)
    store.prepare()
    writer = Writer(store.ledger, answers.settled, lambda *_: None)
    for number in range(5):  # all wait before the thread starts, so they are one group
        writer.submit(broken() if number == 2 else received(number), answers.slot(number))
    with caplog.at_level(logging.CRITICAL, logger="koala_middleware.collector"):
        writer.start()
        assert answers.all.wait(DEADLINE)
        writer.stop()

    assert {number: outcome for number, outcome in answers.got.items() if number != 2} == dict.fromkeys(
        (0, 1, 3, 4), 1
    )
    assert isinstance(answers.got[2], Exception)
    with store.reader() as reader:
        assert [person.email for person in reader.people(10)] == [
            f"p{number}@example.com" for number in (4, 3, 1, 0)
        ]
        assert reader.totals().entries == 4
    store.close()


@on_both_stores
def test_what_cannot_be_stored_is_answered_so_that_the_sender_comes_again(
    collector: Running, caplog: pytest.LogCaptureFixture
) -> None:
    collector.app.state.collector.writer.run(
        lambda ledger: ledger.connection.execute("ALTER TABLE entry RENAME TO elsewhere")
    ).result()
    with caplog.at_level(logging.CRITICAL, logger="koala_middleware.collector"):
        answered = collector.send(profile_id="p1", events=[event("x")])
    assert (answered.status_code, answered.headers["retry-after"]) == (503, "1")


def test_when_too_much_waits_the_sender_is_asked_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_WAITING", 2)
    writer = Writer(SqliteStore(tmp_path / "koala.db").ledger, lambda _: None, lambda *_: None)
    writer.submit(received(1))
    writer.submit(received(2))
    with pytest.raises(QueueFull):
        writer.submit(received(3))


def test_a_cancelled_task_does_not_stop_the_writing(tmp_path: Path) -> None:
    writer = Writer(SqliteStore(tmp_path / "koala.db").ledger, lambda _: None, lambda *_: None)
    given_up, wanted = writer.run(type), writer.run(type)
    given_up.cancel()
    writer.start()
    assert wanted.result(DEADLINE) is SqliteLedger
    writer.stop()


@pytest.mark.parametrize("not_done", [False, RuntimeError("the disk is full")], ids=["not done", "failed"])
def test_a_task_is_tried_again_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_done: bool | Exception
) -> None:
    monkeypatch.setattr(writing, "RETRY_SECONDS", 0.001)
    writer = Writer(SqliteStore(tmp_path / "koala.db").ledger, lambda _: None, lambda *_: None)
    outcomes, done = [True, not_done, not_done], threading.Event()

    def task(_: SqliteLedger) -> bool:
        outcome = outcomes.pop()
        if isinstance(outcome, Exception):
            raise outcome
        if outcome:
            done.set()
        return outcome

    writer.run_until_done(task)
    writer.start()
    assert done.wait(DEADLINE)
    writer.stop()
    assert outcomes == []


@on_both_stores
def test_stopping_writes_what_waits(database: Database) -> None:
    store = open_store(database)
    store.prepare()
    writer = Writer(store.ledger, lambda _: None, lambda *_: None)
    for number in range(500):
        writer.submit(received(number))
    writer.start()
    writer.stop()
    with store.reader() as reader:
        assert reader.totals().people == 500
    store.close()
