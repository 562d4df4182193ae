"""The logbook: what the log says of delivery, one line when trouble starts, one when it ends, never one
per entry.

Numbers, settings and kinds of failure only: no line holds a visitor's data.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from koala_middleware.delivery.outbox import counters
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.sending.circuit_breaker import Change
from koala_middleware.delivery.transports.answers import Answer, advice

log = logging.getLogger("koala_middleware")

BLINK = 1.0  # seconds; what is over before that is not said
CALM = 10.0  # seconds without another entry lost, after which losing is over
_LOSSES = (counters.OUTBOX_FULL, counters.TOO_OLD, counters.CORRUPT)
_LOUDEST = 3600.0  # an alarm is repeated at growing distances, once an hour at last


@dataclass(frozen=True, slots=True)
class _Outage:
    answer: Answer
    since: float


@dataclass(slots=True)
class _Losing:
    before: int
    latest: int
    since: float
    changed: float


class Logbook:
    """Remembers what was said. Called outside every lock that an app's thread could want."""

    def __init__(self, endpoint: str, alarm_after: float) -> None:
        self._lock = threading.RLock()
        self._endpoint = endpoint
        self._alarm_after = alarm_after
        self._outage: _Outage | None = None  # one that was not said yet
        self._trouble_since: float | None = None  # of what was said
        self._losing: _Losing | None = None
        self._lost = 0
        self._next_alarm = alarm_after
        self._refused = 0
        self._refused_said = 0

    def changed(self, change: Change, answer: Answer, stats: DeliveryStats, now: float) -> None:
        """The endpoint went away, holds everything, or is back."""
        with self._lock:
            if change == "outage":
                self._outage = _Outage(answer, now)  # said if it lasts: one cut connection is no news
            elif change == "held":
                self._trouble_since = now if self._trouble_since is None else self._trouble_since
                self._outage = None
                self._say_held(answer, stats)
            else:
                self._say_recovered(stats, now)

    def _say_held(self, answer: Answer, stats: DeliveryStats) -> None:
        log.error(
            "Koala endpoint %s: %s; %d entries wait. All are held, and it is asked every 5 minutes: %s.",
            self._endpoint,
            answer.summary,
            stats.waiting,
            advice(answer, self._endpoint),
        )

    def _say_outage(self, outage: _Outage, stats: DeliveryStats) -> None:
        self._outage, self._trouble_since = None, outage.since
        log.warning(
            "Koala endpoint %s: %s; %d entries wait, and are sent again until they arrive.",
            self._endpoint,
            outage.answer.summary,
            stats.waiting,
        )

    def _say_recovered(self, stats: DeliveryStats, now: float) -> None:
        since, self._trouble_since, self._outage = self._trouble_since, None, None
        self._next_alarm = self._alarm_after
        if since is not None:
            log.warning(
                "Koala endpoint %s answers again after %.0f s; %d entries that waited go out now.",
                self._endpoint,
                now - since,
                stats.waiting,
            )

    def look(self, stats: DeliveryStats, unserved: float, now: float) -> None:
        """Says when losing starts and ends, and that nothing gets through.

        Args:
            unserved: Seconds that entries have waited without any delivery.
        """
        with self._lock:
            if self._outage is not None and now - self._outage.since >= BLINK:
                self._say_outage(self._outage, stats)
            self._look_at_losses(stats, now)
            if unserved >= self._next_alarm:
                self._next_alarm = min(self._next_alarm * 2, self._next_alarm + _LOUDEST)
                log.error(
                    "Koala: nothing was delivered to %s for %.0f s; %d entries wait.",
                    self._endpoint,
                    unserved,
                    stats.waiting,
                )

    def refused(self, answer: Answer, entries: int, kept: str) -> None:
        """Entries the endpoint would not take: said at the first, then each time their number is tenfold."""
        with self._lock:
            self._refused += entries
            if self._refused < 10 * self._refused_said:
                return
            self._refused_said = self._refused
            log.warning(
                "Koala endpoint %s refused %d entries so far (%s); %s.",
                self._endpoint,
                self._refused,
                answer.summary,
                kept,
            )

    def ended(self, stats: DeliveryStats, before: DeliveryStats) -> None:
        """The last line of a process that could not deliver everything."""
        unanswered = _dropped(stats, before, counters.UNANSWERED)
        lost = _dropped(stats, before, counters.ENDED)
        more = f", and {unanswered} more were sent without an answer" if unanswered else ""
        if lost or unanswered:
            log.error("Koala: the process ends; %d entries are lost%s. %s", lost, more, self._why())
        elif stats.waiting:
            log.warning("Koala: the process ends; %d entries are kept in the outbox.", stats.waiting)

    def _why(self) -> str:
        return f"Endpoint {self._endpoint}: {self._outage.answer.summary}." if self._outage else ""

    def _look_at_losses(self, stats: DeliveryStats, now: float) -> None:
        lost = sum(stats.dropped.get(reason, 0) for reason in _LOSSES)
        if lost > self._lost and self._losing is None:
            self._losing = _Losing(self._lost, lost, now, now)
            reasons = ", ".join(reason for reason in _LOSSES if stats.dropped.get(reason))
            log.error("Koala: entries are being lost (%s) while %d wait.", reasons, stats.waiting)
        elif self._losing is not None and lost > self._lost:
            self._losing.latest, self._losing.changed = lost, now
        elif self._losing is not None and now - self._losing.changed >= CALM:
            losing, self._losing = self._losing, None
            log.error(
                "Koala: no more entries are lost; %d were, in %.0f s.",
                lost - losing.before,
                now - losing.since,
            )
        self._lost = lost


def _dropped(stats: DeliveryStats, before: DeliveryStats, reason: str) -> int:
    return stats.dropped.get(reason, 0) - before.dropped.get(reason, 0)
