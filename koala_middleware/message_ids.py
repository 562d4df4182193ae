"""Message ids: UUIDs of version 7, which sort by the time they were made. Knows nothing of what they name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from struct import iter_unpack

_NANOSECONDS = 1_000_000  # in a millisecond
_DRAWN = 512  # numbers at a time

_drawn: Iterator[tuple[int]] = iter(())
_drawn_in = 0  # the process


def new_message_id() -> str:
    """36 characters. The twelve bits behind the milliseconds count their 4096ths, so that ids made one after the
    other sort, too; 62 are random.

    Source: RFC 9562, section 5.7 and method 3 of section 6.2.
    """
    milliseconds, rest = divmod(time.time_ns(), _NANOSECONDS)
    return str(_uuid()(int=milliseconds << 80 | (rest << 12) // _NANOSECONDS << 64 | _random(), version=7))


def _random() -> int:
    """64 random bits. Asking the system each time lets go of the interpreter, and a request that does so waits for
    whatever thread has taken it: beside a busy delivery that is 10 µs an id, a third of what an event costs."""
    global _drawn, _drawn_in  # noqa: PLW0603  (one store for the process)
    if _drawn_in != os.getpid():  # a forked child must not draw what its parent draws
        _drawn_in, _drawn = os.getpid(), iter(())
    number = next(_drawn, None)
    if number is None:
        _drawn = iter_unpack("Q", os.urandom(8 * _DRAWN))
        number = next(_drawn)
    return number[0]


@cache
def _uuid() -> Callable[..., object]:
    from uuid6 import UUID  # noqa: PLC0415  (6 ms: loaded when a client is made)

    return UUID
