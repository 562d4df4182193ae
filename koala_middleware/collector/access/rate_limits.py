"""How often one sender may come: a token bucket for each. Must not know HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable

BURST_SECONDS = 10  # a burst may be this many seconds' worth
_REMEMBERED = 50_000  # senders


class RateLimit:
    """At most `per_second` on average and `burst` at once, BURST_SECONDS' worth by default. None allows everything."""

    def __init__(
        self,
        per_second: float | None,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_second
        self._capacity = max(1.0, (per_second or 0) * BURST_SECONDS) if burst is None else burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when they were counted

    def allows(self, sender: str) -> bool:
        """Take one token from the sender's bucket, if there is one."""
        if self._per_second is None:
            return True
        now = self._clock()
        tokens, counted = self._buckets.pop(sender, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - counted) * self._per_second)
        if len(self._buckets) >= _REMEMBERED:  # the first is the one that was seen least recently
            del self._buckets[next(iter(self._buckets))]
        self._buckets[sender] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1
