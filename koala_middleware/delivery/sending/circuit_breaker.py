"""The circuit breaker: whether a request may go to the endpoint now. One for all senders of a dispatcher.

Closed while the endpoint answers. After a failure open for a pause, then one request at a time probes until one gets
through. Bookkeeping for one thread: no lock, no clock. Must not know batches or threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from koala_middleware.delivery.report import Change
from koala_middleware.delivery.schedule import backoff
from koala_middleware.delivery.transports.answers import Answer, Verdict

Open = Literal["outage", "held"]


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Attributes: `since` and `until` are monotonic; `answer` is the latest failure."""

    state: Literal["closed", "outage", "held"]
    since: float = 0.0
    until: float = 0.0
    answer: Answer | None = None


class CircuitBreaker:
    """Attributes: `now` may be read on any thread."""

    def __init__(self) -> None:
        self.now = BreakerState("closed")
        self.closed = True
        self._failures = 0
        self._probing = False
        self._failed_at = 0.0
        self._asked_to_wait = False

    def wait(self, now: float, *, hurried_at: float) -> float:
        """Seconds until a request may go; 0.0 for now.

        Args:
            hurried_at: Since then somebody waits for the outcome (a flush, the end of the process): one probe goes at
                once, unless the endpoint itself said when to come back.
        """
        if self.closed:
            return 0.0
        if self._probing:
            return backoff.FIRST_GAP
        hurried = self._failed_at < hurried_at and not self._asked_to_wait
        return 0.0 if hurried else max(self.now.until - now, 0.0)

    def let_through(self) -> bool:
        """Let a request through. Returns whether it is a probe, for which `answered` or `unused` must be called."""
        self._probing = not self.closed
        return self._probing

    def unused(self) -> None:
        """Undo a probe that was not sent."""
        self._probing = False

    def open_beyond(self, deadline: float, *, since: float) -> bool:
        """Whether it stays open beyond the deadline, with no request since `since` in flight."""
        if self.closed or self._probing:
            return False
        return self.now.until > deadline and (self._asked_to_wait or self._failed_at >= since)

    def answered(self, answer: Answer, verdict: Verdict, now: float, *, probe: bool) -> Change | None:
        """Record an answer. Returns the change of state, or None."""
        if probe:
            self._probing = False
        if verdict is Verdict.RETRY:
            return self._open("outage", answer, now, probe=probe)
        if verdict is Verdict.HOLD:
            return self._open("held", answer, now, probe=probe)
        return self._close()

    def _open(self, state: Open, answer: Answer, now: float, *, probe: bool) -> Change | None:
        changed = self.now.state != state
        if not changed and not probe:
            return None  # sent before it opened: the same failure again
        since = now if self.closed else self.now.since
        self._failures = 1 if changed else self._failures + 1
        self._failed_at = now
        self._asked_to_wait = bool(answer.retry_after)
        pause = (
            backoff.held_pause(self._failures)
            if state == "held"
            else backoff.pause(self._failures, now - since)
        )
        self.closed = False
        self.now = BreakerState(state, since, now + pause + (answer.retry_after or 0.0), answer)
        return state if changed else None

    def _close(self) -> Change | None:
        if self.closed:
            return None
        self.now, self.closed = BreakerState("closed"), True
        self._failures = 0
        return "recovered"
