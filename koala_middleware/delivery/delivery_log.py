"""The delivery log: one line when trouble starts, one when it ends, none per entry.

Numbers, settings and kinds of failure only: no line holds a visitor's data.
"""

from __future__ import annotations

from dataclasses import dataclass

from koala_middleware.delivery.outbox import counters
from koala_middleware.delivery.report import Change, DeliveryStats
from koala_middleware.delivery.transports.answers import Answer, advice
from koala_middleware.log_once import logger as log

BLINK = 1.0  # seconds; a shorter outage is not logged
LONG_BLINK = 1.5  # the same for an endpoint that holds everything, which is asked again before that
CALM = 10.0  # seconds without a lost entry until a loss is over
_LOSSES = (counters.OUTBOX_FULL, counters.TOO_OLD, counters.CORRUPT)
_LOUDEST = 3600.0  # the longest interval between two alarms, in seconds


@dataclass(frozen=True, slots=True)
class _Trouble:
    """A change not logged yet. Attributes: `since` is the start of the outage, `changed` the time of the change."""

    answer: Answer
    since: float
    changed: float
    held: bool


@dataclass(slots=True)
class _Losing:
    before: int
    latest: int
    since: float
    changed: float


class DeliveryLog:
    """Remembers what was logged. Used by the dispatcher alone."""

    def __init__(self, endpoint: str, alarm_after: float) -> None:
        self._endpoint = endpoint
        self._alarm_after = alarm_after
        self._unsaid: _Trouble | None = None
        self._trouble_since: float | None = None  # of the logged outage
        self._losing: _Losing | None = None
        self._lost = 0
        self._next_alarm = alarm_after
        self._refused = 0
        self._refused_said = 0

    def changed(self, change: Change, answer: Answer, waiting: int, now: float, *, sure: bool) -> None:
        """The endpoint is away, holds everything, or is back.

        Args:
            sure: That it holds everything is no guess.
        """
        if change == "recovered":
            self._say_recovered(waiting, now)
            return
        since = self._unsaid.since if self._unsaid else self._trouble_since
        # Logged if it lasts: a single cut connection or rejected batch is no news.
        self._unsaid = _Trouble(answer, now if since is None else since, now, held=change == "held")
        if change == "held" and sure:
            self._say(self._unsaid, waiting)

    def _say(self, trouble: _Trouble, waiting: int) -> None:
        self._unsaid, self._trouble_since = None, trouble.since
        if trouble.held:
            log.error(
                "Koala endpoint %s: %s; %d entries wait. All are held, and it is asked again, every 5 minutes in the "
                "end: %s.",
                self._endpoint,
                trouble.answer.summary,
                waiting,
                advice(trouble.answer, self._endpoint),
            )
        else:
            log.warning(
                "Koala endpoint %s: %s; %d entries wait, and are sent again until they arrive.",
                self._endpoint,
                trouble.answer.summary,
                waiting,
            )

    def _say_recovered(self, waiting: int, now: float) -> None:
        since, self._trouble_since, self._unsaid = self._trouble_since, None, None
        self._next_alarm = self._alarm_after
        if since is not None:
            log.warning(
                "Koala endpoint %s answers again after %.0f s; %d entries that waited go out now.",
                self._endpoint,
                now - since,
                waiting,
            )

    def look(self, stats: DeliveryStats, unserved: float, now: float) -> None:
        """Log the start and end of a loss, and that nothing is delivered.

        Args:
            unserved: Seconds that entries have waited without any delivery.
        """
        unsaid = self._unsaid
        if (
            unsaid is not None
            and stats.waiting
            and now - unsaid.changed >= (LONG_BLINK if unsaid.held else BLINK)
        ):
            self._say(unsaid, stats.waiting)
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
        """Log refused entries: the first, then at each tenfold number."""
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
        """Log what a process could not deliver at its end."""
        unanswered = _dropped(stats, before, counters.UNANSWERED)
        lost = _dropped(stats, before, counters.ENDED)
        more = f", and {unanswered} more were sent without an answer" if unanswered else ""
        if lost or unanswered:
            log.error("Koala: the process ends; %d entries are lost%s. %s", lost, more, self._why())
        elif stats.waiting:
            log.warning("Koala: the process ends; %d entries are kept in the outbox.", stats.waiting)

    def _why(self) -> str:
        return f"Endpoint {self._endpoint}: {self._unsaid.answer.summary}." if self._unsaid else ""

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
