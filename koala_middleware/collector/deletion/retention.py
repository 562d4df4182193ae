"""Letting go of what is older than it may be kept: a little at a time, so that ingestion never waits for long."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from koala_middleware.collector.recording.writer import Writer, now_ms
from koala_middleware.collector.store.contract import CHUNK, ForgettingLedger

log = logging.getLogger("koala_middleware.collector")

EVERY = 60 * 60.0  # seconds


async def expire_for_ever(writer: Writer, keep: int) -> None:
    """Once an hour, until cancelled. `keep`: milliseconds."""
    while True:
        try:
            await expire(writer, now_ms() - keep)
        except Exception:
            log.exception("What is older than --keep could not be deleted; the next try is in an hour")
        await asyncio.sleep(EVERY)


async def expire(writer: Writer, before: int) -> int:
    """Delete what arrived before a moment, then people of whom nothing is left. Answers how many entries went."""
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


def _expire_some_people(ledger: ForgettingLedger, before: int, after: int) -> int | None:
    return ledger.expire_people(before, after)
