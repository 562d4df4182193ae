"""Group commit: one thread, one queue, one transaction for all that waits.

A request is answered only when the transaction that holds its entries is on disk. A batch that fails does not
spoil its group: the group is undone and its members recorded one by one. Must not know HTTP or SQL.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from koala_middleware.collector.recording.recorder import Ledger, record
from koala_middleware.collector.validation.batches import Batch

log = logging.getLogger("koala_middleware.collector")

GROUP_BATCHES = 256
GROUP_ENTRIES = 3_000  # so that one transaction takes tens of milliseconds at most
WAITING = 10_000  # requests in the queue; above, the sender is asked to come again
MINUTE = 60_000
TRIES = 5  # of a transaction that collides with other collectors'
AGAIN = 5.0  # seconds until a chore that was not done is tried once more

TAKEN_KEPT = 5_000  # requests whose raw body is kept; older ones make room
REFUSED_KEPT = 1_000
BODY_KEPT = 64 * 1024  # bytes of a kept request's body


class Overloaded(Exception):  # noqa: N818  (a state, told to the sender as 503)
    """More waits than can be written soon; come again in a second."""


class NotStored(Exception):  # noqa: N818  (a state, too)
    """The database would not take the request; nothing of it is stored. The cause is in the log."""


class Away(RuntimeError):  # noqa: N818  (a state, as above)
    """The database cannot be reached now. What was under way is undone, or will be found done when it comes again."""


class Collided(RuntimeError):  # noqa: N818  (a state, as above)
    """Another collector's transaction was in the way, and this one is undone: try once more."""


@dataclass(slots=True)
class Arrived:
    """One request as it came, for whoever looks at it later. `batch` is None when nothing of it is recorded."""

    key: str
    path: str
    received_at: int
    body: bytes
    user_agent: str
    status: int = 200
    outcome: str = "taken"
    notes: str = ""
    batch: Batch | None = None
    request_no: int = 0

    def row(self) -> tuple[Any, ...]:
        """As every store keeps it."""
        return (
            self.request_no,
            self.key,
            self.path,
            self.received_at,
            self.status,
            self.outcome,
            self.notes,
            self.user_agent,
            len(self.body),
            self.body[:BODY_KEPT].decode("utf-8", "replace"),
        )


class GroupLedger(Ledger, Protocol):
    """A ledger that also holds transactions and keeps requests."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commit at the end, undo on an exception."""

    def request_numbers(self, count: int) -> Sequence[int]: ...
    def keep_requests(self, requests: list[Arrived]) -> None: ...
    def count_requests(self, minutes: dict[tuple[int, str], tuple[int, int]]) -> None: ...
    def close(self) -> None: ...


Answer = Callable[[int | Exception], None]
Chore = Callable[[Any], Any]
Done = TypeVar("Done")


class Writer:
    """The one thread that writes."""

    def __init__(
        self,
        open_ledger: Callable[[], GroupLedger],
        settled: Callable[[list[tuple[Answer, int | Exception]]], None],
        written: Callable[[list[Arrived], list[int | Exception], float], None],
    ) -> None:
        """Both are called in the writer's thread.

        Args:
            settled: Gets each group's answers at once.
            written: Gets each group, what became of it, and the seconds it took: for measures.
        """
        self._open_ledger = open_ledger
        self._settled = settled
        self._written = written
        self._waiting: deque[tuple[Arrived, Answer | None]] = deque()
        self._chores: deque[tuple[Chore, Future[Any], bool]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._undone: set[Chore] = set()
        self._try_again_at = 0.0
        self._thread = threading.Thread(target=self._run, name="koala-collector-writer", daemon=True)
        self._away = False
        self.committed = 0  # groups, for whoever watches for news

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write all that waits, then end the thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, arrived: Arrived, answer: Answer | None = None) -> None:
        """Queue a request. `answer` gets the number of new entries, or the error. Raises Overloaded."""
        if len(self._waiting) >= WAITING:
            raise Overloaded
        self._waiting.append((arrived, answer))
        self._wake.set()

    def run(self, chore: Chore, alone: bool = False) -> Future[Any]:
        """Run `chore(ledger)` between two groups, in a transaction of its own, or with `alone` in none."""
        future: Future[Any] = Future()
        self._chores.append((chore, future, alone))
        self._wake.set()
        return future

    def run_until_done(self, chore: Chore) -> None:
        """Run `chore(ledger)` in no transaction, and every AGAIN seconds once more until it answers True."""
        self.run(partial(self._try, chore), alone=True)

    def _try(self, chore: Chore, ledger: GroupLedger) -> None:
        done = False
        try:
            done = chore(ledger)
        finally:
            if not done:
                self._undone.add(chore)
                self._try_again_at = time.monotonic() + AGAIN

    def _run(self) -> None:
        ledger = self._open_ledger()
        try:
            while not (self._stopping and not self._waiting and not self._chores):
                self._wake.wait(AGAIN if self._undone else None)
                self._wake.clear()
                self._retry_undone()
                while self._waiting or self._chores:
                    self._do_chore(ledger)
                    self._write_group(ledger, self._next_group())
                    self._retry_undone()
                if self._stopping:
                    self._wake.set()
        finally:
            ledger.close()

    def _retry_undone(self) -> None:
        if self._undone and time.monotonic() >= self._try_again_at:
            undone, self._undone = self._undone, set()
            for chore in undone:
                self.run_until_done(chore)

    def _do_chore(self, ledger: GroupLedger) -> None:
        if not self._chores:
            return
        chore, future, alone = self._chores.popleft()
        if not future.set_running_or_notify_cancel():
            return  # nobody waits for it any more
        try:
            result = chore(ledger) if alone else _again(lambda: _in_transaction(ledger, chore))
        except Exception as error:  # noqa: BLE001  (told to whoever waits for the chore)
            future.set_exception(error)
        else:
            self.committed += 1
            future.set_result(result)

    def _next_group(self) -> list[tuple[Arrived, Answer | None]]:
        group: list[tuple[Arrived, Answer | None]] = []
        entries = 0
        while self._waiting and len(group) < GROUP_BATCHES and entries < GROUP_ENTRIES:
            item = self._waiting.popleft()
            entries += len(item[0].batch.entries) if item[0].batch else 0
            group.append(item)
        return group

    def _write_group(self, ledger: GroupLedger, group: list[tuple[Arrived, Answer | None]]) -> None:
        if not group:
            return
        started = time.perf_counter()
        outcomes = _outcomes(ledger, [arrived for arrived, _ in group])
        self.committed += 1
        self._report(outcomes)
        self._written([arrived for arrived, _ in group], outcomes, time.perf_counter() - started)
        self._settled(
            [(answer, outcome) for (_, answer), outcome in zip(group, outcomes, strict=True) if answer]
        )

    def _report(self, outcomes: list[int | Exception]) -> None:
        """One line when the database goes away, one when it is back, and each failure of another kind."""
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        away = next((error for error in failed if isinstance(error, Away)), None)
        if away and not self._away:
            log.error("The database is away, and senders are asked to come again: %s", away)
        elif self._away and not away:
            log.warning("The database is back")
        self._away = away is not None
        if failed and not away:
            log.error(
                "%d requests could not be stored: %s",
                len(failed),
                type(failed[0]).__name__,
                exc_info=failed[0],
            )


def _in_transaction(ledger: GroupLedger, chore: Chore) -> Any:
    with ledger.transaction():
        return chore(ledger)


def _outcomes(ledger: GroupLedger, group: list[Arrived]) -> list[int | Exception]:
    """What became of each request. One bad member must not spoil the others; a database that is away spoils all."""
    try:
        return [*_again(lambda: _write(ledger, group))]
    except Away as away:
        return [away] * len(group)
    except Exception as error:  # noqa: BLE001  (see above)
        return [error] if len(group) == 1 else [_write_alone(ledger, arrived) for arrived in group]


def _again(work: Callable[[], Done]) -> Done:
    """Do it, and once more when another collector's transaction was in the way."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except Collided:
            continue
    return work()


def _write(ledger: GroupLedger, group: list[Arrived]) -> list[int]:
    """One transaction for the group. Answers how many entries of each request were new."""
    with ledger.transaction():
        for arrived, number in zip(group, ledger.request_numbers(len(group)), strict=True):
            arrived.request_no = number
        taken = [arrived for arrived in group if arrived.batch is not None]
        new = iter(record(ledger, [(a.request_no, a.batch) for a in taken if a.batch is not None]))
        counts = [next(new) if arrived.batch is not None else 0 for arrived in group]
        ledger.keep_requests(group)
        ledger.count_requests(_by_minute(group, counts))
    return counts


def _write_alone(ledger: GroupLedger, arrived: Arrived) -> int | Exception:
    try:
        return _again(lambda: _write(ledger, [arrived]))[0]
    except Exception as error:  # noqa: BLE001  (this request's own failure)
        return error


def _by_minute(group: list[Arrived], counts: list[int]) -> dict[tuple[int, str], tuple[int, int]]:
    minutes: dict[tuple[int, str], tuple[int, int]] = {}
    for arrived, count in zip(group, counts, strict=True):
        place = arrived.received_at // MINUTE, arrived.outcome
        requests, entries = minutes.get(place, (0, 0))
        minutes[place] = requests + 1, entries + count
    return minutes


def now_ms() -> int:
    return time.time_ns() // 1_000_000
