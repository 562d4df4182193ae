"""From a stream to the endpoint: take some messages, deliver them, settle them, and only then take more.

A message is settled when the endpoint has taken or refused it. Whatever happens before that, it comes again,
and each person's from the first unsettled on: so nothing is lost, and nobody's entries change their order.
Must not know any broker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from koala_middleware.delivery.relay.relay import Relay
from koala_middleware.delivery.schedule import backoff
from koala_middleware.delivery.transports.broker_answers import BrokerAwayError
from koala_middleware.log_once import logger

AT_A_TIME = 200  # messages in hand
_LOOK = 1.0  # seconds between two signs of life to the broker while messages are in hand


@dataclass(frozen=True, slots=True)
class Taken:
    """One message. Attributes: `stream` and `place` say where it lies."""

    stream: str
    place: str
    public_api_key: str
    body: bytes


class Source(Protocol):
    """One relay's view of a broker. Every call may raise BrokerAwayError."""

    def take(self, seconds: float) -> Sequence[Taken]:
        """The next messages, `AT_A_TIME` at most; waits for them, so long at most."""
        ...

    def keep(self) -> bool:
        """Says that we live. False when another relay has been given what we have in hand."""
        ...

    def settle(self, messages: Sequence[Taken]) -> None:
        """These are done, for ever."""
        ...

    def let_go(self) -> None:
        """Gives everything up, connections too; a later `take` begins anew with what is not settled. Never
        raises."""
        ...


def pump(
    source: Source, relay: Relay, ended: threading.Event, *, once: bool, advance: Callable[[int], object]
) -> None:
    """Until `ended`, or with `once` until nothing comes for a second."""
    outage = _Outage()
    while not ended.is_set():
        try:
            messages = source.take(_LOOK)
            if messages and _delivered(messages, source, relay, ended):
                source.settle(messages)
                advance(len(messages))
            elif messages:
                relay.hand_back()
                source.let_go()
            elif once and not outage:
                break
            outage.over()
        except BrokerAwayError as error:
            relay.hand_back()
            source.let_go()
            ended.wait(outage.pause(error))
    source.let_go()


def _delivered(messages: Sequence[Taken], source: Source, relay: Relay, ended: threading.Event) -> bool:
    for message in messages:
        relay.take(message.public_api_key, message.body)
    while not relay.settled(_LOOK):
        if ended.is_set() or not source.keep():
            return False
    return True


class _Outage:
    """The broker is away: how long to wait, and two lines in the log."""

    def __init__(self) -> None:
        self._tries = 0
        self._since = 0.0

    def __bool__(self) -> bool:
        return self._tries > 0

    def pause(self, error: BrokerAwayError) -> float:
        if not self._tries:
            self._since = time.monotonic()
            logger.warning("Koala relay: the broker cannot be asked (%s); it is tried until it can.", error)
        self._tries += 1
        return backoff.pause(self._tries, time.monotonic() - self._since)

    def over(self) -> None:
        if self._tries:
            self._tries = 0
            logger.warning(
                "Koala relay: the broker answers again after %.0f s.", time.monotonic() - self._since
            )
