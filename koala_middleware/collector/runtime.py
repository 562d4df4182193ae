"""A running collector: the store, the writer and what watches over them. Made when the app starts, ended with it."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import suppress
from typing import Any

from starlette.requests import HTTPConnection

from koala_middleware.collector.access.logins import Logins
from koala_middleware.collector.access.rate_limits import RateLimit
from koala_middleware.collector.deletion.retention import expire_hourly
from koala_middleware.collector.metrics import Metrics
from koala_middleware.collector.recording.senders import Senders
from koala_middleware.collector.recording.writer import NotStored, OnStored, Writer
from koala_middleware.collector.settings import CollectorSettings
from koala_middleware.collector.store.contract import Store
from koala_middleware.collector.store.errors import DatabaseUnavailable
from koala_middleware.collector.store.rows import ReceivedRequest


class Collector:
    """One collector.

    Attributes:
        closing: Set when the server begins to stop; whatever streams must then end.
    """

    def __init__(self, settings: CollectorSettings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.writer = Writer(self.store.ledger, self._notify, self._measure)
        self.metrics = Metrics(lambda: self.writer.waiting, self._size)
        self.senders = Senders()
        self.address_rate, self.key_rate = RateLimit(settings.address_rate), RateLimit(settings.key_rate)
        self.logins = Logins(self.store, settings)
        self.closing = asyncio.Event()
        self.renderings: dict[Any, asyncio.Future[Any]] = {}  # of Live pages, see pages.live
        self._loop = asyncio.get_running_loop()
        self._retention: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open or make the database, and start to write."""
        await asyncio.to_thread(self.store.prepare)  # a database that cannot be used fails here, not later
        self.writer.start()
        self.store.watch(lambda: self.writer.committed)
        if self.settings.keep is not None:
            self._retention = asyncio.create_task(expire_hourly(self.writer, self.settings.keep))

    def close_streams(self) -> None:
        """End whatever streams. May be called from any thread and from a signal handler."""
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

    def version(self) -> tuple[int, int]:
        """Changes whenever something was written, here or by another collector on the same database."""
        return self.writer.committed, self.store.changes_heard

    def store_request(self, received: ReceivedRequest) -> asyncio.Future[int]:
        """Store a request and its batch.

        The future is done once they are on disk. It holds how many entries were new, or NotStored.

        Raises:
            QueueFull: The sender should come again.
        """
        done: asyncio.Future[int] = self._loop.create_future()
        self.writer.submit(received, _resolving(done))
        return done

    def keep_request(self, received: ReceivedRequest) -> None:
        """Store a request without a batch. Nobody waits for it."""
        self.writer.submit(received)

    def _notify(self, callbacks: list[tuple[OnStored, int | Exception]]) -> None:
        if callbacks and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_call, callbacks)

    def _measure(self, group: list[ReceivedRequest], outcomes: list[int | Exception], seconds: float) -> None:
        metrics = self.metrics
        metrics.commit.observe(seconds)
        results = Counter(
            "failed" if isinstance(outcome, Exception) else received.outcome
            for received, outcome in zip(group, outcomes, strict=True)
        )
        for result, count in results.items():
            metrics.requests.labels(result).inc(count)
        metrics.failed.inc(results["failed"])
        for received, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, int) and received.batch is not None:
                metrics.entries.inc(outcome)
                metrics.repeats.inc(len(received.batch.entries) - outcome)
                self.senders.stored(received.key, received.user_agent, received.received_at)

    def _size(self) -> float:
        try:
            return self.store.size()
        except DatabaseUnavailable:
            return math.nan


def collector_of(connection: HTTPConnection) -> Collector:
    """The collector that a request came to."""
    collector: Collector = connection.app.state.collector
    return collector


def _call(callbacks: list[tuple[OnStored, int | Exception]]) -> None:
    for on_stored, outcome in callbacks:
        on_stored(outcome)


def _resolving(done: asyncio.Future[int]) -> OnStored:
    def on_stored(outcome: int | Exception) -> None:
        if done.cancelled():
            return
        if isinstance(outcome, Exception):
            done.set_exception(NotStored())
        else:
            done.set_result(outcome)

    return on_stored
