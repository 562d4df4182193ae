"""Message ids: UUIDs of version 7, which sort by the time they were made. Knows nothing of what they name."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from struct import unpack

_NANOSECONDS = 1_000_000  # in a millisecond
_DRAWN = 32  # at a time
_VARIANT_AT = 18  # in a UUID's text, where the random bits that every id has of its own begin

_drawn: Iterator[str] = iter(())
_drawn_in = 0  # the process


def new_message_id() -> str:
    """36 characters. The twelve bits behind the milliseconds count their 4096ths, so that ids made one after the
    other sort, too; 62 are random.

    Source: RFC 9562, section 5.7 and method 3 of section 6.2.
    """
    milliseconds, rest = divmod(time.time_ns(), _NANOSECONDS)
    now = f"{milliseconds:012x}"
    return f"{now[:8]}-{now[8:]}-7{(rest << 12) // _NANOSECONDS:03x}{_random_end()}"


def _random_end() -> str:
    """The random end of an id, as `-b1c2-d3e4f5a6b7c8`. Many are drawn at a time: asking the system lets go of the
    interpreter, and a request that does so waits for whatever thread has taken it. Beside a busy delivery that is
    10 µs an id, a third of what an event costs."""
    global _drawn, _drawn_in  # noqa: PLW0603  (one store for the process)
    if _drawn_in != os.getpid():  # a forked child must not draw what its parent draws
        _drawn_in, _drawn = os.getpid(), iter(())
    end = next(_drawn, None)
    if end is None:
        _drawn = iter(_random_ends())
        end = next(_drawn)
    return end


def _random_ends() -> list[str]:
    from uuid6 import UUID  # noqa: PLC0415  (6 ms: loaded when a client is made)

    numbers = unpack(f"{_DRAWN}Q", os.urandom(8 * _DRAWN))
    return [str(UUID(int=number, version=7))[_VARIANT_AT:] for number in numbers]
