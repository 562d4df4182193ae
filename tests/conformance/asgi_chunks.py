"""The handlers' chunks for async apps: made in a thread, so that a gate holds up nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator


async def as_async(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    chunks = iter(chunks)
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
