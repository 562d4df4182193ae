"""The gate: may a request go to the endpoint now? One for all connections of a sender.

Open while the endpoint answers; after a failure closed for a pause, then one request at a time may probe
until one gets through. Must not know batches or threads.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

from koala_middleware.delivery.schedule import backoff
from koala_middleware.delivery.transports.answers import Answer, Verdict

Closed = Literal["outage", "held"]
Change = Literal["outage", "held", "recovered"]


@dataclass(frozen=True, slots=True)
class GateState:
    """Attributes: `since` and `until` on the monotonic clock; `answer` is the latest that closed the gate."""

    state: Literal["open", "outage", "held"]
    since: float = 0.0
    until: float = 0.0
    answer: Answer | None = None


class Gate:
    """Thread-safe. All times are `time.monotonic()` seconds."""

    def __init__(self) -> None:
        # Re-entrant: a signal handler may close a client while its own thread is in here.
        self._lock = threading.RLock()
        self._now = GateState("open")
        self._failures = 0
        self._prober: int | None = None  # the thread whose request is to show whether the endpoint is back
        self._closed_at = 0.0
        self._asked_to_wait = False

    @property
    def state(self) -> GateState:
        return self._now

    def enter(self, now: float, *, hurried_at: float | None = None) -> float:
        """0.0: go, and tell `answered` or `leave`. Else the seconds until it is worth asking again.

        Args:
            hurried_at: Somebody waits for the outcome since then (a flush, the end of the process): one
            try is
                made at once, unless the endpoint itself said when to come back.
        """
        with self._lock:
            if self._now.state == "open":
                return 0.0
            wait = self._now.until - now
            hurried = hurried_at is not None and self._closed_at < hurried_at and not self._asked_to_wait
            if wait > 0 and not hurried:
                return wait
            if self._prober is not None:
                return backoff.FIRST_GAP  # another connection asks already
            self._prober = threading.get_ident()
            return 0.0

    def closed_beyond(self, deadline: float, *, since: float) -> bool:
        """Closed until after the deadline, and nothing tried since `since` is still on its way."""
        with self._lock:
            if self._now.state == "open" or self._prober is not None:
                return False
            return self._now.until > deadline and (self._asked_to_wait or self._closed_at >= since)

    def leave(self) -> None:
        """Nothing was sent after all."""
        with self._lock:
            if self._prober == threading.get_ident():
                self._prober = None

    def answered(self, answer: Answer, verdict: Verdict, now: float) -> Change | None:
        """Takes note; tells what changed by this answer."""
        with self._lock:
            probed = self._prober == threading.get_ident()
            self.leave()
            if verdict is Verdict.RETRY:
                return self._close("outage", answer, now, probed=probed)
            if verdict is Verdict.HOLD:
                return self._close("held", answer, now, probed=probed)
            return self._open()

    def _close(self, state: Closed, answer: Answer, now: float, *, probed: bool) -> Change | None:
        changed = self._now.state != state
        if not changed and not probed:
            return None  # a request from before the gate closed: the same failure once more
        since = now if self._now.state == "open" else self._now.since
        self._failures = 1 if changed else self._failures + 1
        self._closed_at = now
        self._asked_to_wait = answer.retry_after is not None
        if state == "held":
            pause = backoff.probe_pause()
        elif answer.retry_after is not None:
            pause = answer.retry_after + backoff.pause(1, 0.0)
        else:
            pause = backoff.pause(self._failures, now - since)
        self._now = GateState(state, since, now + pause, answer)
        return state if changed else None

    def _open(self) -> Change | None:
        if self._now.state == "open":
            return None
        self._now = GateState("open")
        self._failures = 0
        return "recovered"
