"""When each sender's entries were last stored, since this collector started. Must not know HTTP or SQL."""

from __future__ import annotations

from dataclasses import dataclass

_REMEMBERED = 200


@dataclass(slots=True)
class Sender:
    """One key and User-Agent.

    Attributes:
        last_stored: Milliseconds since 1970.
    """

    key: str
    user_agent: str
    last_stored: int
    requests: int = 0


class Senders:
    """The latest senders. Written by the writer's thread, read by pages."""

    def __init__(self) -> None:
        self._senders: dict[tuple[str, str], Sender] = {}

    def stored(self, key: str, user_agent: str, at: int) -> None:
        """Note that a sender's request was stored."""
        sender = self._senders.pop((key, user_agent), None) or Sender(key, user_agent, at)
        sender.last_stored = max(at, sender.last_stored)
        sender.requests += 1
        if len(self._senders) >= _REMEMBERED:  # the first is the one not heard from for longest
            del self._senders[next(iter(self._senders))]
        self._senders[key, user_agent] = sender

    def latest(self, limit: int) -> list[Sender]:
        """Those heard from last come first."""
        return list(self._senders.copy().values())[: -limit - 1 : -1]
