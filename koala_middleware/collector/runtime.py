"""One collector's moving parts, made when its app starts and ended with it."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import suppress

from koala_middleware.collector.access.logins import Logins
from koala_middleware.collector.access.rate_limits import Rate
from koala_middleware.collector.deletion.retention import expire_for_ever
from koala_middleware.collector.monitoring.metrics import Measures
from koala_middleware.collector.recording.writer import Answer, Arrived, Away, NotStored, Writer
from koala_middleware.collector.settings import CollectorSettings
from koala_middleware.collector.store.contract import Store


class Collector:
    """The store, its writer, and what watches over them.

    Attributes:
        closing: Set when the server begins to stop; whatever streams must then end.
    """

    def __init__(self, settings: CollectorSettings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.writer = Writer(self.store.ledger, self._settled, self._written)
        self.measures = Measures(lambda: self.writer.waiting, self._size)
        self.address_rate, self.key_rate = Rate(settings.address_rate), Rate(settings.key_rate)
        self.logins = Logins(self.store, settings.login_header)
        self.closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._retention: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open or make the database, and begin to write."""
        # Whatever is wrong with the database is said now, not at the first request.
        await asyncio.to_thread(self.store.prepare)
        self.writer.start()
        self.store.follow(lambda: self.writer.committed)
        if self.settings.keep is not None:
            self._retention = asyncio.create_task(expire_for_ever(self.writer, self.settings.keep))

    def close_streams(self) -> None:
        """Let whatever streams end now. From any thread, or a signal's handler."""
        self._loop.call_soon_threadsafe(self.closing.set)

    async def stop(self) -> None:
        """End the streams, write what waits, close the database."""
        self.closing.set()
        if self._retention is not None:
            self._retention.cancel()
            with suppress(asyncio.CancelledError):
                await self._retention
        await asyncio.to_thread(self.writer.stop)
        await asyncio.to_thread(self.store.close)

    def news(self) -> tuple[int, int]:
        """Changes whenever something was written, here or by another collector on the same database."""
        return self.writer.committed, self.store.heard

    def _size(self) -> float:
        try:
            return self.store.size()
        except Away:
            return math.nan

    def record(self, arrived: Arrived) -> asyncio.Future[int]:
        """Store a request's batch. The future, done once it is on disk, holds how many entries were new, or
        NotStored: then the sender should come again.

        Raises:
            Overloaded: The sender should come again.
        """
        done: asyncio.Future[int] = self._loop.create_future()
        self.writer.submit(arrived, _answer_to(done))
        return done

    def note(self, arrived: Arrived) -> None:
        """Keep a request that holds nothing to record; nobody waits for it."""
        self.writer.submit(arrived)

    def _settled(self, answers: list[tuple[Answer, int | Exception]]) -> None:
        if answers and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_give, answers)

    def _written(self, group: list[Arrived], outcomes: list[int | Exception], seconds: float) -> None:
        measures = self.measures
        measures.commit.observe(seconds)
        for outcome, count in Counter(arrived.outcome for arrived in group).items():
            measures.requests.labels(outcome).inc(count)
        measures.entries.inc(sum(count for count in outcomes if isinstance(count, int)))
        measures.failed.inc(sum(isinstance(outcome, Exception) for outcome in outcomes))


def _give(answers: list[tuple[Answer, int | Exception]]) -> None:
    for answer, outcome in answers:
        answer(outcome)


def _answer_to(done: asyncio.Future[int]) -> Answer:
    def answer(outcome: int | Exception) -> None:
        if done.cancelled():
            return
        if isinstance(outcome, Exception):
            done.set_exception(NotStored())
        else:
            done.set_result(outcome)

    return answer
