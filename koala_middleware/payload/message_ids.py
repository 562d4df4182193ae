"""Message ids: UUIDs of version 7, which sort by the time they were made.

Must not know what they identify. Source: RFC 9562, section 5.7 and method 3 of section 6.2.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

_NANOSECONDS = 1_000_000  # in a millisecond
_FRACTIONS = 4096  # of a millisecond: three hexadecimal digits
_BATCH = 128  # random parts made at a time
_VARIANT = slice(18, 24)  # of a UUID's text: "-b1c2-", the variant and the first random bits
_TAIL = 12  # hexadecimal digits after it

_random_tails: Iterator[str] = iter(())


def new_message_id() -> str:
    """A new id, 36 characters, for the current time."""
    milliseconds, rest = divmod(time.time_ns(), _NANOSECONDS)
    return time_part(milliseconds) + random_part(rest)


def time_part(milliseconds: int) -> str:
    """The start of all ids of one millisecond since the epoch: `0192ab3c-d4e5-7`. Negative times count as 0."""
    digits = f"{max(milliseconds, 0):012x}"
    return f"{digits[:8]}-{digits[8:]}-7"


def random_part(nanoseconds: int) -> str:
    """The rest of an id, new on each call.

    Twelve bits count 4096ths of a millisecond, so that ids of one millisecond sort, too. 62 bits are random, 48 of
    them new for each id.
    """
    return f"{nanoseconds * _FRACTIONS // _NANOSECONDS:03x}{next(_random_tails, None) or _refill()}"


def _refill() -> str:
    """Makes many random tails (`-b1c2-d3e4f5a6b7c8`) and returns the first.

    `os.urandom` releases the GIL. Beside a busy delivery thread, getting it back takes 10 µs, a third of an event.
    """
    global _random_tails  # noqa: PLW0603  (one supply for the process)
    from uuid6 import UUID  # noqa: PLC0415  (6 ms: loaded when a client is made)

    variant = str(UUID(int=int.from_bytes(os.urandom(8)), version=7))[_VARIANT]
    digits = os.urandom(_BATCH * _TAIL // 2).hex()
    first, *rest = [variant + digits[at : at + _TAIL] for at in range(0, len(digits), _TAIL)]
    _random_tails = iter(rest)
    return first


def _discard() -> None:
    """A forked child must not use the random tails of its parent."""
    global _random_tails  # noqa: PLW0603  (as above)
    _random_tails = iter(())


os.register_at_fork(after_in_child=_discard)
