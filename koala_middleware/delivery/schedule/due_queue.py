"""A queue of keys, ordered by when each is due; first in, first out among equals.

Many lanes become due at one moment, so the heap has one place for each moment and not one for each key. Must not
know what waits behind a key.
"""

from __future__ import annotations

import heapq
import math
from collections import deque


class DueQueue:
    """Attributes: `due` holds the keys that are due, in order."""

    def __init__(self) -> None:
        self.due: deque[str] = deque()
        self._later: dict[float, deque[str]] = {}
        self._moments: list[float] = []  # a heap of the keys of `_later`

    def add(self, key: str, at: float) -> None:
        keys = self._later.get(at)
        if keys is None:
            self._later[at] = deque((key,))
            heapq.heappush(self._moments, at)
        else:
            keys.append(key)

    def next(self) -> float:
        """When the next key is due."""
        if self.due:
            return -math.inf
        return self._moments[0] if self._moments else math.inf

    def passed(self, now: float) -> list[str]:
        """Remove and return the keys that became due; the caller appends them to `due` or adds them again."""
        keys: list[str] = []
        while self._moments and self._moments[0] <= now:
            keys += self._later.pop(heapq.heappop(self._moments))
        return keys

    def join(self, other: DueQueue) -> None:
        """Move all keys of another queue here."""
        self.due += other.due
        for moment, keys in other._later.items():
            for key in keys:
                self.add(key, moment)

    def take_first(self) -> tuple[str, float] | None:
        """Remove and return the key that is due first, and when it is due."""
        if self.due:
            return self.due.popleft(), -math.inf
        if not self._moments:
            return None
        moment = self._moments[0]
        keys = self._later[moment]
        key = keys.popleft()
        if not keys:
            del self._later[heapq.heappop(self._moments)]
        return key, moment

    def give_back(self, key: str, at: float) -> None:
        """Undo `take_first`."""
        if at == -math.inf:
            self.due.appendleft(key)
        elif at in self._later:
            self._later[at].appendleft(key)
        else:
            self.add(key, at)
