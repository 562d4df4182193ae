"""How often one sender may come: a bucket of tokens for each. Must not know HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable

BURST = 10  # seconds' worth that may come at once
_REMEMBERED = 50_000  # senders


class Rate:
    """At most `a_second` on average, and at most `at_once` (BURST seconds' worth). None allows everything."""

    def __init__(
        self,
        a_second: float | None,
        at_once: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._a_second = a_second
        self._full = max(1.0, (a_second or 0) * BURST) if at_once is None else at_once
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when they were counted

    def allows(self, sender: str) -> bool:
        """Take one token from the sender's bucket, if there is one."""
        if self._a_second is None:
            return True
        now = self._clock()
        tokens, counted = self._buckets.pop(sender, (self._full, now))
        tokens = min(self._full, tokens + (now - counted) * self._a_second)
        if len(self._buckets) >= _REMEMBERED:  # the sender longest unseen is the first
            del self._buckets[next(iter(self._buckets))]
        self._buckets[sender] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1
