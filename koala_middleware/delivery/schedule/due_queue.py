"""Turns: whose turn it is next, by the moment from which on it is.

Many lanes become due at one moment, so there is one place for each moment and not one for each lane. Knows keys
alone, and the order they came in. Must not know what waits behind a key.

A signal handler may call in between any two steps of another call. Python lets it in when a function begins or has
returned, and at the end of a loop. A key may then be in the hands of the call that is interrupted, and is back in its
place when that returns; what was looked at before is looked at again.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque


class Turns:
    """Attributes: `due` holds the keys whose moment has come, first come first."""

    def __init__(self) -> None:
        self.due: deque[str] = deque()
        self._later: defaultdict[float, list[str]] = defaultdict(list)
        self._moments: list[float] = []  # a heap; one twice or without keys does no harm

    def add(self, key: str, at: float) -> None:
        keys = self._later[at]
        is_new = not keys
        keys.append(key)
        if is_new:
            heapq.heappush(self._moments, at)

    def next(self) -> float:
        """When the next turn is."""
        if self.due:
            return -math.inf
        return self._moments[0] if self._moments else math.inf

    def passed(self, now: float) -> list[str]:
        """Takes out the keys whose moment has passed and who are not in `due` yet."""
        keys: list[str] = []
        while self._moments and self._moments[0] <= now:
            keys += self._later.pop(heapq.heappop(self._moments), ())
        return keys

    def join(self, other: Turns) -> None:
        """Takes over all turns of another."""
        while other.due:
            self.due.append(other.due.popleft())
        while other._later:
            moment, keys = other._later.popitem()
            for key in keys:
                self.add(key, moment)
        while other._moments and not other._later:
            heapq.heappop(other._moments)

    def take_first(self) -> tuple[str, float] | None:
        """Takes out whose turn is next, and its moment."""
        if self.due:
            return self.due.popleft(), -math.inf
        while self._moments:
            moment = self._moments[0]
            if moment in self._later:
                if keys := self._later[moment]:
                    return keys.pop(0), moment
                del self._later[moment]
            heapq.heappop(self._moments)
        return None

    def give_back(self, key: str, at: float) -> None:
        """After `take_first`: it is their turn first, as before."""
        if at == -math.inf:
            self.due.appendleft(key)
            return
        self._later[at].insert(0, key)
        if not self._moments or self._moments[0] != at:
            heapq.heappush(self._moments, at)
