"""Message ids: UUIDs of version 7, which sort by the time they were made. Knows nothing of what they name."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

_NANOSECONDS = 1_000_000  # in a millisecond
_PARTS = 4096  # of a millisecond: three hexadecimal digits
_DRAWN = 128  # at a time
_VARIANT = slice(18, 24)  # of a UUID's text: "-b1c2-", its variant and the first random bits behind the time
_TAIL = 12  # hexadecimal digits behind that

_drawn: Iterator[str] = iter(())


def new_message_id() -> str:
    """36 characters, with the time as of now."""
    milliseconds, rest = divmod(time.time_ns(), _NANOSECONDS)
    return beginning(milliseconds) + end(rest)


def beginning(milliseconds: int) -> str:
    """What ids of one millisecond since the epoch have in common: `0192ab3c-d4e5-7`. Earlier ones count as the epoch.

    Source: RFC 9562, section 5.7.
    """
    digits = f"{max(milliseconds, 0):012x}"
    return f"{digits[:8]}-{digits[8:]}-7"


def end(nanoseconds: int) -> str:
    """What follows, each time another: twelve bits that count 4096ths of the millisecond, so that ids made one after
    the other sort, too; 62 are random, 48 of them each id's own.

    Source: RFC 9562, method 3 of section 6.2.
    """
    return f"{nanoseconds * _PARTS // _NANOSECONDS:03x}{next(_drawn, None) or _draw()}"


def _draw() -> str:
    """The random end of an id, as `-b1c2-d3e4f5a6b7c8`. Many are drawn at a time: asking the system lets go of the
    interpreter, and a request that does so waits for whatever thread has taken it. Beside a busy delivery that is
    10 µs an id, a third of what an event costs; and making a UUID of each takes 2 µs, a fourth of an entry."""
    global _drawn  # noqa: PLW0603  (one store for the process)
    from uuid6 import UUID  # noqa: PLC0415  (6 ms: loaded when a client is made)

    variant = str(UUID(int=int.from_bytes(os.urandom(8)), version=7))[_VARIANT]
    tails = os.urandom(_DRAWN * _TAIL // 2).hex()
    first, *ends = [variant + tails[at : at + _TAIL] for at in range(0, len(tails), _TAIL)]
    _drawn = iter(ends)
    return first


def _forget() -> None:
    """A forked child must not draw what its parent draws."""
    global _drawn  # noqa: PLW0603  (as above)
    _drawn = iter(())


os.register_at_fork(after_in_child=_forget)
