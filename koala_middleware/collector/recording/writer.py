"""Group commit: one thread, one queue, and one transaction for all that waits.

A request is answered only when the transaction with its entries is on disk. A batch that fails does not spoil its
group: the group is rolled back and its members are recorded one by one. Must not know HTTP or SQL.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from koala_middleware.collector.recording.recorder import record_batches
from koala_middleware.collector.store.contract import Ledger
from koala_middleware.collector.store.errors import DatabaseUnavailable, TransactionConflict
from koala_middleware.collector.store.rows import ReceivedRequest
from koala_middleware.collector.times import MINUTE

log = logging.getLogger("koala_middleware.collector")

GROUP_BATCHES = 256
GROUP_ENTRIES = 3_000  # so that one transaction takes tens of milliseconds at most
MAX_WAITING = 10_000  # requests in the queue; beyond, senders are asked to come again
ATTEMPTS = 5  # at a transaction that conflicts with another collector's
RETRY_SECONDS = 5.0  # until a task that is not done is tried again


class QueueFull(Exception):  # noqa: N818  (a state, answered with 503)
    """More is waiting than can be written soon."""


class NotStored(Exception):  # noqa: N818  (a state, as above)
    """The database did not take the request, and nothing of it is stored. The log has the cause."""


OnStored = Callable[[int | Exception], None]
"""Called with the number of new entries, or with the error."""

Task = Callable[[Any], Any]
Result = TypeVar("Result")


class Writer:
    """The one thread that writes."""

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        notify: Callable[[list[tuple[OnStored, int | Exception]]], None],
        measure: Callable[[list[ReceivedRequest], list[int | Exception], float], None],
    ) -> None:
        """Both callbacks run in the writer's thread, after each group.

        Args:
            notify: Gets the group's callbacks, each with what to call it with.
            measure: Gets the group, the outcome of each request, and the seconds it took.
        """
        self._open_ledger = open_ledger
        self._notify = notify
        self._measure = measure
        self._waiting: deque[tuple[ReceivedRequest, OnStored | None]] = deque()
        self._tasks: deque[tuple[Task, Future[Any], bool]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._unfinished: set[Task] = set()
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="koala-collector-writer", daemon=True)
        self._failing: type[Exception] | None = None
        self.failure: str | None = None  # why the last group was not stored
        self.committed = 0  # groups and tasks: changes whenever something was written

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

    def submit(self, received: ReceivedRequest, on_stored: OnStored | None = None) -> None:
        """Queue a request. Raises QueueFull."""
        if len(self._waiting) >= MAX_WAITING:
            raise QueueFull
        self._waiting.append((received, on_stored))
        self._wake.set()

    def run(self, task: Task, in_transaction: bool = True) -> Future[Any]:
        """Run `task(ledger)` between two groups."""
        future: Future[Any] = Future()
        self._tasks.append((task, future, in_transaction))
        self._wake.set()
        return future

    def run_until_done(self, task: Task) -> None:
        """Run `task(ledger)` outside a transaction, and again every RETRY_SECONDS until it returns True."""
        self.run(partial(self._try, task), in_transaction=False)

    def _try(self, task: Task, ledger: Ledger) -> None:
        done = False
        try:
            done = task(ledger)
        finally:
            if not done:
                self._unfinished.add(task)
                self._retry_at = time.monotonic() + RETRY_SECONDS

    def _run(self) -> None:
        ledger = self._open_ledger()
        try:
            while not (self._stopping and not self._waiting and not self._tasks):
                self._wake.wait(RETRY_SECONDS if self._unfinished else None)
                self._wake.clear()
                self._retry_unfinished()
                while self._waiting or self._tasks:
                    self._run_task(ledger)
                    self._write_group(ledger, self._next_group())
                    self._retry_unfinished()
                if self._stopping:
                    self._wake.set()
        finally:
            ledger.close()

    def _retry_unfinished(self) -> None:
        if self._unfinished and time.monotonic() >= self._retry_at:
            unfinished, self._unfinished = self._unfinished, set()
            for task in unfinished:
                self.run_until_done(task)

    def _run_task(self, ledger: Ledger) -> None:
        if not self._tasks:
            return
        task, future, in_transaction = self._tasks.popleft()
        if not future.set_running_or_notify_cancel():
            return  # cancelled
        try:
            result = (
                _retry_conflicts(lambda: _in_transaction(ledger, task)) if in_transaction else task(ledger)
            )
        except Exception as error:  # noqa: BLE001  (goes to whoever waits for the task)
            future.set_exception(error)
        else:
            self.committed += 1
            future.set_result(result)

    def _next_group(self) -> list[tuple[ReceivedRequest, OnStored | None]]:
        group: list[tuple[ReceivedRequest, OnStored | None]] = []
        entries = 0
        while self._waiting and len(group) < GROUP_BATCHES and entries < GROUP_ENTRIES:
            item = self._waiting.popleft()
            entries += len(item[0].batch.entries) if item[0].batch else 0
            group.append(item)
        return group

    def _write_group(self, ledger: Ledger, group: list[tuple[ReceivedRequest, OnStored | None]]) -> None:
        if not group:
            return
        started = time.perf_counter()
        requests = [received for received, _ in group]
        outcomes = _outcomes(ledger, requests)
        self.committed += 1
        self._log_failures(outcomes)
        self._measure(requests, outcomes, time.perf_counter() - started)
        callbacks = zip((on_stored for _, on_stored in group), outcomes, strict=True)
        self._notify([(on_stored, outcome) for on_stored, outcome in callbacks if on_stored])

    def _log_failures(self, outcomes: list[int | Exception]) -> None:
        """One line when writing begins to fail, one when it works again; a traceback for what is not expected."""
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        stored = len(failed) < len(outcomes)
        if not failed:
            if self.failure is not None:
                log.warning("The database can be written again")
            self.failure = self._failing = None
            return
        error = failed[0]
        if type(error) is not self._failing:
            expected = isinstance(error, DatabaseUnavailable)
            log.error(
                "%d requests could not be stored, and senders are asked to come again: %s",
                len(failed),
                error if expected else type(error).__name__,
                exc_info=None if expected else error,
            )
        self._failing = type(error)
        if not stored:
            self.failure = str(error) if isinstance(error, DatabaseUnavailable) else type(error).__name__


def _in_transaction(ledger: Ledger, task: Task) -> Any:
    with ledger.transaction():
        return task(ledger)


def _outcomes(ledger: Ledger, group: list[ReceivedRequest]) -> list[int | Exception]:
    """The outcome of each request. A bad member must not spoil the others; an unavailable database fails all."""
    try:
        return [*_retry_conflicts(lambda: _write(ledger, group))]
    except DatabaseUnavailable as unavailable:
        return [unavailable] * len(group)
    except Exception as error:  # noqa: BLE001  (see above)
        return [error] if len(group) == 1 else [_write_alone(ledger, received) for received in group]


def _retry_conflicts(work: Callable[[], Result]) -> Result:
    """Do the work, and again when another collector's transaction was in the way."""
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except TransactionConflict:
            continue
    return work()


def _write(ledger: Ledger, group: list[ReceivedRequest]) -> list[int]:
    """One transaction for the group. Returns how many entries of each request were new."""
    with ledger.transaction():
        for received, number in zip(group, ledger.request_numbers(len(group)), strict=True):
            received.request_no = number
        batches = [(received.request_no, received.batch) for received in group if received.batch is not None]
        new = iter(record_batches(ledger, batches))
        counts = [next(new) if received.batch is not None else 0 for received in group]
        ledger.save_requests(group)
        ledger.count_requests(_by_minute(group, counts))
    return counts


def _write_alone(ledger: Ledger, received: ReceivedRequest) -> int | Exception:
    try:
        return _retry_conflicts(lambda: _write(ledger, [received]))[0]
    except Exception as error:  # noqa: BLE001  (this request's own failure)
        return error


def _by_minute(group: list[ReceivedRequest], counts: list[int]) -> dict[tuple[int, str], tuple[int, int]]:
    minutes: dict[tuple[int, str], tuple[int, int]] = {}
    for received, count in zip(group, counts, strict=True):
        place = received.received_at // MINUTE, received.outcome
        requests, entries = minutes.get(place, (0, 0))
        minutes[place] = requests + 1, entries + count
    return minutes
