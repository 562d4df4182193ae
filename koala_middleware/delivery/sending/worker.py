"""The worker: takes parcels out of the outbox, sends them, and settles each by the endpoint's answer.

One step at a time, on whatever thread calls: threads and their lives are crew.py's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.delivery_log import Logbook
from koala_middleware.delivery.outbox.base import Outbox
from koala_middleware.delivery.report import DeliveryEvent, Outcome
from koala_middleware.delivery.schedule.lanes import Parcel, Waiting, batch_of
from koala_middleware.delivery.sending.bulk_support import BulkOffer, about_bulk, best
from koala_middleware.delivery.sending.circuit_breaker import Change, Gate
from koala_middleware.delivery.sending.hook import Hook
from koala_middleware.delivery.sending.threads import Pause
from koala_middleware.delivery.transports.answers import Answer, Verdict, verdict
from koala_middleware.delivery.transports.base import Transport
from koala_middleware.log_once import LogOnce

OUTAGE = 2.0  # seconds; after a shorter one what waits is no backlog
HOPELESS = 3  # batches in a row refused to their last entry: the endpoint refuses everything

_NOT_NOW = frozenset({Verdict.RETRY, Verdict.HOLD})


class Worker:
    """Shared by all threads of a sender; each brings its own transport."""

    def __init__(self, config: KoalaConfig, outbox: Outbox, gate: Gate, logbook: Logbook, hook: Hook) -> None:
        self._config = config
        self._outbox = outbox
        self._gate = gate
        self._logbook = logbook
        self._hook = hook
        self._offer = BulkOffer()
        self._notices = LogOnce()
        self._refused_whole = 0

    def claim(self, hurried_at: float) -> list[Parcel] | Pause:
        """Parcels to `deliver`, or how long there are none.

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
        # Whether the endpoint is back is asked with as little as possible.
        most = self._offer.most() if self._gate.state.state == "open" else 1
        parcels = self._outbox.claim_many(now, most)
        if not parcels:
            self._gate.leave()
            return Pause(self._outbox.next_due(now))
        return parcels

    def deliver(self, parcels: list[Parcel], transport: Transport, deadline: float = math.inf) -> None:
        """Sends and settles all of them. Never raises."""
        try:
            if len(parcels) == 1:
                self._deliver(parcels[0], parcels[0].items, transport, deadline)
            else:
                self._deliver_together(parcels, transport, deadline)
        except Exception as error:  # noqa: BLE001  (a bug here must not end delivery: the entries stay)
            self._notices.error("a batch could not be sent; it is kept", error)
            self._gate.leave()
        for parcel in parcels:
            if parcel.items:
                self._outbox.put_back(parcel, time.monotonic())

    def _deliver_together(self, parcels: list[Parcel], transport: Transport, deadline: float) -> None:
        bulk = self._offer.stands(transport, self._timeout(deadline))
        if bulk is None:
            self._deliver_first(1, parcels, transport, deadline)
            return
        answer = bulk.send_bulk([batch_of(parcel.items) for parcel in parcels], self._timeout(deadline))
        if isinstance(answer, list):
            self._offer.worked()
            self._hear(best(answer))
            self._settle_each(parcels, answer, transport, deadline)
        elif about_bulk(answer):
            self._offer.withdraw()
            self._deliver_first(1, parcels, transport, deadline)
        elif verdict(answer) is Verdict.TOO_LARGE:
            self._deliver_first(len(parcels) // 2, parcels, transport, deadline)
        else:
            if self._hear(answer) == "outage":
                self._offer.failed()
            for parcel in parcels:
                self._not_now(parcel.items, answer)

    def _deliver_first(
        self, number: int, parcels: list[Parcel], transport: Transport, deadline: float
    ) -> None:
        """So many of them; the others are left to whoever is free."""
        self._outbox.release(parcels[number:])
        self.deliver(parcels[:number], transport, deadline)

    def _settle_each(
        self, parcels: list[Parcel], answers: list[Answer], transport: Transport, deadline: float
    ) -> None:
        """Each by its own answer; what is refused comes last, since parts of it may be sent again."""
        settled = list(zip(parcels, answers, strict=True))
        if answers[0].taken and answers.count(answers[0]) == len(answers):  # as nearly always
            self._take_all(settled)
            return
        self._take_all([(parcel, answer) for parcel, answer in settled if answer.taken])
        refused: list[tuple[Parcel, Answer]] = []
        for parcel, answer in settled:
            if answer.taken:
                continue
            if verdict(answer) in _NOT_NOW:
                self._not_now(parcel.items, answer)
                now, wait = time.monotonic(), answer.retry_after
                self._outbox.put_back(parcel, now, None if wait is None else now + wait)
            else:
                refused.append((parcel, answer))
        for parcel, answer in refused:
            if self._settle(parcel, parcel.items, answer, transport, deadline) in _NOT_NOW:
                return

    def _take_all(self, taken: list[tuple[Parcel, Answer]]) -> None:
        if not taken:
            return
        self._refused_whole = 0
        told = [(parcel.items, answer) for parcel, answer in taken] if self._hook else []
        self._outbox.done_all([parcel for parcel, _ in taken])
        for items, answer in told:
            self._tell("delivered", items, answer)

    def _deliver(
        self, parcel: Parcel, part: Sequence[Waiting], transport: Transport, deadline: float
    ) -> Verdict:
        """The verdict on the last POST; anything but TAKEN and REFUSED leaves the rest unsettled."""
        answer = transport.send(batch_of(part), self._timeout(deadline))
        self._hear(answer)
        return self._settle(parcel, part, answer, transport, deadline)

    def _settle(
        self, parcel: Parcel, part: Sequence[Waiting], answer: Answer, transport: Transport, deadline: float
    ) -> Verdict:
        said = verdict(answer)
        if said is Verdict.TAKEN:
            self._refused_whole = 0
            self._outbox.done(parcel, part)
            self._tell("delivered", part, answer)
        elif said in {Verdict.REFUSED, Verdict.TOO_LARGE}:
            if len(part) > 1 and self._parts_may_do(said):
                return self._deliver_halves(parcel, part, transport, deadline)
            self._refuse(parcel, part, answer)
        elif parcel.items:
            self._not_now(part, answer)
        return said

    def _deliver_halves(
        self, parcel: Parcel, part: Sequence[Waiting], transport: Transport, deadline: float
    ) -> Verdict:
        whole, middle = len(part) == len(parcel.items), len(part) // 2
        before = self._outbox.stats().delivered if whole else 0
        said = Verdict.REFUSED
        for half in (part[:middle], part[middle:]):
            said = self._deliver(parcel, half, transport, deadline)
            if said in _NOT_NOW:
                return said
        if whole and self._outbox.stats().delivered == before:
            self._refused_whole += 1
        return said

    def _parts_may_do(self, said: Verdict) -> bool:
        # Where batch after batch was refused to its last entry, halving only multiplies requests.
        return said is Verdict.TOO_LARGE or self._refused_whole < HOPELESS

    def _refuse(self, parcel: Parcel, part: Sequence[Waiting], answer: Answer) -> None:
        self._outbox.refuse(parcel, part, f"{answer.summary} {answer.error}".strip())
        kept = "they are kept aside in the outbox" if self._config.outbox else "they are not sent again"
        self._logbook.refused(answer, len(part), kept)
        self._tell("refused", part, answer)

    def _not_now(self, part: Sequence[Waiting], answer: Answer) -> None:
        self._tell("retried", part, answer)
        for item in part:
            item.unanswered = item.unanswered or answer.may_have_it

    def _timeout(self, deadline: float) -> float:
        return min(self._config.request_timeout, max(deadline - time.monotonic(), 0.05))

    def _hear(self, answer: Answer) -> Change | None:
        """What an answer says of the endpoint; tells what changed by it."""
        now, since = time.monotonic(), self._gate.state.since
        change = self._gate.answered(answer, verdict(answer), now)
        if change is not None:
            self._logbook.changed(change, answer, self._outbox.stats(), now)
            if change == "recovered" and now - since >= OUTAGE:
                self._offer.forget()
                self._outbox.recovered()
        return change

    def _tell(self, outcome: Outcome, part: Sequence[Waiting], answer: Answer) -> None:
        if self._hook:
            reason = "" if outcome == "delivered" else answer.summary
            self._hook.tell(DeliveryEvent(outcome, len(part), answer.status, reason, batch_of(part)))
