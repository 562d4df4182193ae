"""The contract of a source: where a relay takes messages from.

Must not know any broker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_MESSAGES = 200  # that a relay holds at a time


class BrokerAwayError(Exception):
    """The broker does not answer. The message is the kind of failure."""


@dataclass(frozen=True, slots=True)
class SourceMessage:
    """One message. Attributes: `stream` and `position` say where it is in the broker."""

    stream: str
    position: str
    public_api_key: str
    body: bytes


class Source(Protocol):
    """One relay's view of a broker. Every call but `release` may raise BrokerAwayError."""

    def receive(self, timeout: float) -> Sequence[SourceMessage]:
        """Returns the next messages, at most MAX_MESSAGES; waits up to `timeout` seconds for the first."""
        ...

    def heartbeat(self) -> bool:
        """Tells the broker that this relay is alive. False when its messages have been given to another relay."""
        ...

    def settle(self, messages: Sequence[SourceMessage]) -> None:
        """Removes messages for good."""
        ...

    def release(self) -> None:
        """Gives up streams and connections; a later `receive` starts again with what is not settled. Never raises."""
        ...
