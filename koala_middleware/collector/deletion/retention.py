"""Deleting what is older than it may be kept: a little at a time, so that senders never wait for long."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from koala_middleware.collector.recording.writer import Writer
from koala_middleware.collector.store.contract import CHUNK, Ledger
from koala_middleware.collector.times import now_ms

log = logging.getLogger("koala_middleware.collector")

EVERY = 60 * 60.0  # seconds


async def expire_hourly(writer: Writer, keep: int) -> None:
    """Once an hour, until cancelled. `keep`: milliseconds."""
    while True:
        try:
            await expire(writer, now_ms() - keep)
        except Exception:
            log.exception("Entries older than --keep could not be deleted; trying again in an hour")
        await asyncio.sleep(EVERY)


async def expire(writer: Writer, before: int) -> int:
    """Delete what arrived before a moment, then people who have nothing left. Returns how many entries were deleted."""
    gone = await _expire_entries(writer, before)
    await _expire_people(writer, before)
    while not await asyncio.wrap_future(writer.run(lambda ledger: ledger.expire_rest(before))):
        pass
    return gone


async def _expire_entries(writer: Writer, before: int) -> int:
    gone = 0
    while True:
        count: int = await asyncio.wrap_future(writer.run(lambda ledger: ledger.expire_entries(before)))
        gone += count
        if count < CHUNK:
            return gone


async def _expire_people(writer: Writer, before: int) -> None:
    last: int | None = 0
    while last is not None:
        some = writer.run(partial(_expire_some_people, before=before, after=last))
        last = await asyncio.wrap_future(some)


def _expire_some_people(ledger: Ledger, before: int, after: int) -> int | None:
    return ledger.expire_people(before, after)
