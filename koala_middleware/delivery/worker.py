"""The worker: takes one parcel out of the outbox, sends it, and settles it by the endpoint's answer.

One step at a time, on whatever thread calls: threads and their lives are crew.py's.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence

from koala_middleware.config import KoalaConfig
from koala_middleware.delivery.answers import Answer, Verdict, verdict, whole_batch_refused
from koala_middleware.delivery.crew import Pause
from koala_middleware.delivery.gate import Gate
from koala_middleware.delivery.hook import Hook
from koala_middleware.delivery.lanes import Parcel, Waiting, batch_of
from koala_middleware.delivery.logbook import Logbook
from koala_middleware.delivery.outbox import Outbox
from koala_middleware.delivery.report import DeliveryEvent, Outcome
from koala_middleware.delivery.transport import Transport
from koala_middleware.notices import Notices

OUTAGE = 2.0  # seconds; after a shorter one what waits is no backlog
HOPELESS = 3  # batches in a row refused to their last entry: the endpoint refuses everything


class Worker:
    """Shared by all threads of a sender; each brings its own transport."""

    def __init__(self, config: KoalaConfig, outbox: Outbox, gate: Gate, logbook: Logbook, hook: Hook) -> None:
        self._config = config
        self._outbox = outbox
        self._gate = gate
        self._logbook = logbook
        self._hook = hook
        self._notices = Notices()
        self._refused_whole = 0

    def claim(self, hurried_at: float) -> Parcel | Pause:
        """A parcel to `deliver`, or how long there is none.

        Args:
            hurried_at: When somebody last asked for a flush, on the monotonic clock.
        """
        now = time.monotonic()
        due = self._outbox.next_due(now)
        if due > 0:
            return Pause(due)
        wait = self._gate.enter(now, hurried_at=hurried_at)
        if wait > 0:
            return Pause(wait, ends_early=False)
        parcel = self._outbox.claim(now)
        if parcel is None:
            self._gate.leave()
            return Pause(self._outbox.next_due(now))
        return parcel

    def deliver(self, parcel: Parcel, transport: Transport, deadline: float = math.inf) -> None:
        """Sends and settles all of it. Never raises."""
        try:
            self._deliver(parcel, parcel.items, transport, deadline)
        except Exception as error:  # noqa: BLE001  (a bug here must not end delivery: the entries stay)
            self._notices.once("a batch could not be sent; it is kept", logging.ERROR, error)
            self._gate.leave()
        if parcel.items:
            self._outbox.put_back(parcel, time.monotonic())

    def _deliver(
        self, parcel: Parcel, part: Sequence[Waiting], transport: Transport, deadline: float
    ) -> Verdict:
        """The verdict on the last POST; anything but TAKEN and REFUSED leaves the rest unsettled."""
        answer, said = self._post(part, transport, deadline)
        if said is Verdict.TAKEN:
            self._refused_whole = 0
            self._outbox.done(parcel, part)
            self._tell("delivered", part, answer)
        elif said in {Verdict.REFUSED, Verdict.TOO_LARGE}:
            if len(part) > 1 and self._parts_may_do(answer, said):
                return self._deliver_halves(parcel, part, transport, deadline)
            self._refuse(parcel, part, answer)
        elif parcel.items:
            self._tell("retried", part, answer)
            for item in part:
                item.unanswered = item.unanswered or answer.may_have_it
        return said

    def _deliver_halves(
        self, parcel: Parcel, part: Sequence[Waiting], transport: Transport, deadline: float
    ) -> Verdict:
        whole, middle = len(part) == len(parcel.items), len(part) // 2
        before = self._outbox.stats().delivered if whole else 0
        said = Verdict.REFUSED
        for half in (part[:middle], part[middle:]):
            said = self._deliver(parcel, half, transport, deadline)
            if said in {Verdict.RETRY, Verdict.HOLD}:
                return said
        if whole and self._outbox.stats().delivered == before:
            self._refused_whole += 1
        return said

    def _parts_may_do(self, answer: Answer, said: Verdict) -> bool:
        # Where batch after batch was refused to its last entry, halving only multiplies requests.
        hopeless = self._refused_whole >= HOPELESS or whole_batch_refused(answer)
        return said is Verdict.TOO_LARGE or not hopeless

    def _refuse(self, parcel: Parcel, part: Sequence[Waiting], answer: Answer) -> None:
        self._outbox.refuse(parcel, part, f"{answer.summary} {answer.error}".strip())
        kept = "they are kept aside in the outbox" if self._config.outbox else "they are not sent again"
        self._logbook.refused(answer, len(part), kept)
        self._tell("refused", part, answer)

    def _post(self, part: Sequence[Waiting], transport: Transport, deadline: float) -> tuple[Answer, Verdict]:
        batch = batch_of(part)
        timeout = min(self._config.request_timeout, max(deadline - time.monotonic(), 0.05))
        answer = transport.send(batch, timeout)
        said = verdict(answer)
        now, since = time.monotonic(), self._gate.state.since
        change = self._gate.answered(answer, said, now)
        if change is not None:
            self._logbook.changed(change, answer, self._outbox.stats(), now)
            if change == "recovered" and now - since >= OUTAGE:
                self._outbox.recovered()
        return answer, said

    def _tell(self, outcome: Outcome, part: Sequence[Waiting], answer: Answer) -> None:
        if self._hook:
            reason = "" if outcome == "delivered" else answer.summary
            self._hook.tell(DeliveryEvent(outcome, len(part), answer.status, reason, batch_of(part)))
