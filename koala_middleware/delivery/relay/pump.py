"""Moves messages from a source to the endpoint: receives some, delivers them, settles them, receives the next.

A message is settled when the endpoint has taken or refused it. After any failure before that, it is received again, and
each person's messages from the first unsettled one on: nothing is lost, and the order of a person's entries is kept.
Must not know any broker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from koala_middleware.delivery.relay.relay import Relay
from koala_middleware.delivery.relay.source import BrokerAwayError, Source, SourceMessage
from koala_middleware.delivery.schedule import backoff
from koala_middleware.log_once import logger

_HEARTBEAT = 1.0  # seconds between two heartbeats while messages are being delivered


def pump(
    source: Source, relay: Relay, stop: threading.Event, *, once: bool, advance: Callable[[int], object]
) -> None:
    """Runs until `stop` is set; with `once` until no message comes for a second.

    Args:
        advance: Called with the number of messages that were settled.
    """
    outage = _Outage()
    while not stop.is_set():
        try:
            messages = source.receive(_HEARTBEAT)
            if messages and _delivered(messages, source, relay, stop):
                source.settle(messages)
                advance(len(messages))
            elif messages:
                relay.hand_back()
                source.release()
            elif once and not outage:
                break
            outage.over()
        except BrokerAwayError as error:
            relay.hand_back()
            source.release()
            stop.wait(outage.pause(error))
    source.release()


def _delivered(
    messages: Sequence[SourceMessage], source: Source, relay: Relay, stop: threading.Event
) -> bool:
    for message in messages:
        relay.accept(message.public_api_key, message.body)
    while not relay.wait_settled(_HEARTBEAT):
        if stop.is_set() or not source.heartbeat():
            return False
    return True


class _Outage:
    """While the broker is away: how long to wait, one log line at the start and one at the end."""

    def __init__(self) -> None:
        self._tries = 0
        self._since = 0.0

    def __bool__(self) -> bool:
        return self._tries > 0

    def pause(self, error: BrokerAwayError) -> float:
        if not self._tries:
            self._since = time.monotonic()
            logger.warning("Koala relay: the broker does not answer (%s); trying again until it does.", error)
        self._tries += 1
        return backoff.pause(self._tries, time.monotonic() - self._since)

    def over(self) -> None:
        if self._tries:
            self._tries = 0
            logger.warning(
                "Koala relay: the broker answers again after %.0f s.", time.monotonic() - self._since
            )
