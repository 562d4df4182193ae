"""Turns: whose turn it is next, by the moment from which on it is.

Many lanes become due at one moment, so there is one place for each moment and not one for each lane. Knows keys
alone, and the order they came in. Must not know what waits behind a key.

A signal handler may call in between any two steps of another call: each step here leaves a key in some place.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Callable


class Turns:
    """Attributes: `due` holds the keys whose moment has come, first come first."""

    def __init__(self) -> None:
        self.due: deque[str] = deque()
        self._later: defaultdict[float, list[str]] = defaultdict(list)
        self._moments: list[float] = []  # a heap; one without keys does no harm
        self._known: set[float] = set()

    def add(self, key: str, at: float) -> None:
        self._later[at].append(key)
        if at not in self._known:
            self._known.add(at)
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
            moment = heapq.heappop(self._moments)
            self._known.discard(moment)
            keys += self._later.pop(moment, ())
        return keys

    def join(self, other: Turns) -> None:
        """Takes over all turns of another."""
        self.due += other.due
        for moment, keys in other._later.items():
            for key in keys:
                self.add(key, moment)
        other.clear()

    def first(self) -> str | None:
        """Whose turn is next, without taking it."""
        if self.due:
            return self.due[0]
        while self._moments:
            if keys := self._later.get(self._moments[0]):
                return keys[0]
            self._known.discard(heapq.heappop(self._moments))
        return None

    def drop_first(self) -> None:
        """Takes out whom `first` named."""
        if self.due:
            self.due.popleft()
        else:
            self._later[self._moments[0]].pop(0)

    def keep(self, wanted: Callable[[str], object]) -> None:
        """Takes out every key that is not wanted."""
        self.due = deque(filter(wanted, self.due))
        for keys in self._later.values():
            keys[:] = filter(wanted, keys)

    def clear(self) -> None:
        self.due.clear()
        self._later.clear()
        self._moments.clear()
        self._known.clear()
