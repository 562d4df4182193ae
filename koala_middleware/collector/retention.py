"""Letting go of what is older than it may be kept: a little at a time, so that ingestion never waits for long."""

from __future__ import annotations

import asyncio
import logging

from koala_middleware.collector.store import CHUNK
from koala_middleware.collector.writer import Writer, now_ms

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
    """Delete what arrived before a moment, and people not seen since. Answers how many entries went."""
    gone = 0
    while True:
        count: int = await asyncio.wrap_future(writer.run(lambda ledger: ledger.expire_entries(before)))
        gone += count
        if count < CHUNK:
            break
    while await asyncio.wrap_future(writer.run(lambda ledger: ledger.expire_people(before))) >= CHUNK:
        pass
    return gone
