"""Settling: applies an answer of the endpoint to the parcels that were sent.

Runs on the dispatcher's thread. Must not know threads, nor how a batch travels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from koala_middleware.delivery.delivery_log import DeliveryLog
from koala_middleware.delivery.gil import paced
from koala_middleware.delivery.outbox.base import Outbox, SharedState
from koala_middleware.delivery.outbox.counters import waiting_entries
from koala_middleware.delivery.report import Change, DeliveryEvent, Outcome
from koala_middleware.delivery.schedule.items import Parcel, Waiting, batch_of
from koala_middleware.delivery.schedule.lanes import FASTEST, all_items
from koala_middleware.delivery.sending.bulk_support import BulkSupport, about_bulk, best
from koala_middleware.delivery.sending.circuit_breaker import CircuitBreaker
from koala_middleware.delivery.sending.jobs import Job, NoBulk, Result
from koala_middleware.delivery.transports.answers import Answer, Verdict, verdict

OUTAGE = 2.0  # seconds; a shorter outage makes no backlog
HOPELESS = 3  # fully refused batches in a row: the endpoint refuses everything
FASTER = 0.005  # added to the backlog's rate for each delivered parcel of it
BULK_FASTER = 0.05  # the same for each bulk request


class Settling:
    """Args:
    kept: What the log says becomes of refused entries.
    Attributes:
        refused_in_a_row: Parcels of which the endpoint took nothing, since it last took something. On any thread.
        split: Parcels that the endpoint refused as a whole, with its answer, of which parts are to be sent.
        events: What `on_delivery` is to hear; collected only where somebody listens.
    """

    def __init__(
        self,
        shared: SharedState,
        outbox: Outbox,
        breaker: CircuitBreaker,
        log: DeliveryLog,
        *,
        kept: str,
        listened_to: bool,
    ) -> None:
        self._shared = shared
        self._outbox = outbox
        self._breaker = breaker
        self._log = log
        self._kept = kept
        self._listened_to = listened_to
        self.refused_in_a_row = 0
        self._refused_whole = 0
        self._taken = 0  # requests of which the endpoint took at least one batch
        # By lane: the value of `_taken` when the endpoint did not take its batch.
        self._doubted: dict[str, int] = {}
        self.bulk = BulkSupport()
        self.split: deque[tuple[Parcel, Answer]] = deque()
        self.events: list[DeliveryEvent] = []

    def settle(self, job: Job, result: Result, now: float) -> None:
        """Apply the result of a job."""
        if job.ask:
            self.bulk.asking = False
            self.bulk.found(offered=not isinstance(result, NoBulk), now=now)
        if isinstance(result, NoBulk):
            self.bulk.withdraw(now)
            self._not_sent(job)
        elif isinstance(result, list):
            self.bulk.worked()
            self._hear(best(result), job, now)
            self._settle_each(job, result, now)
        elif job.is_bulk:
            self._settle_bulk(job, result, now)
        else:
            (parcel,) = job.parcels
            said = self._meaning(result, parcel)
            self._hear(result, job, now, said)
            self._settle_part(parcel, result, said, now)

    def unsent(self, jobs: Sequence[Job]) -> None:
        """Undo the claim of jobs that no sender has begun."""
        for job in reversed(jobs):
            if job.ask:
                self.bulk.asking = False
            self._not_sent(job)

    def _not_sent(self, job: Job) -> None:
        if job.probe:
            self._breaker.unused()
        self._shared.lanes.release(job.parcels)

    # A whole bulk

    def _settle_bulk(self, job: Job, answer: Answer, now: float) -> None:
        """Apply one answer to a whole bulk request."""
        if about_bulk(answer):
            self.bulk.withdraw(now)
            self._not_sent(job)
        elif verdict(answer) is Verdict.TOO_LARGE:
            self.bulk.too_large(len(job.parcels))
            self._not_sent(job)
        else:
            if self._hear(answer, job, now) == "outage":
                self.bulk.failed(now)
            for parcel in job.parcels:
                self._put_back(parcel, answer, now)

    def _settle_each(self, job: Job, answers: list[Answer], now: float) -> None:
        """Apply each parcel's own answer."""
        if answers[0].taken and answers.count(answers[0]) == len(answers):  # the usual case
            self._take_all(job.parcels, answers[0], now)
            return
        any_taken = False
        for parcel, answer in zip(job.parcels, answers, strict=True):
            if answer.taken:
                any_taken = True
                self._take(parcel, parcel.items, answer, now)
        for parcel, answer in zip(job.parcels, answers, strict=True):
            if not answer.taken:
                said = verdict(answer)
                if any_taken and answer.may_concern_one_batch:
                    said = Verdict.REFUSED
                at = None if answer.retry_after is None else now + answer.retry_after
                self._settle_part(parcel, answer, said, now, at)

    # One parcel, or a part of it

    def _settle_part(
        self, parcel: Parcel, answer: Answer, said: Verdict, now: float, at: float | None = None
    ) -> None:
        if not self._shared.lanes.is_out(parcel):
            return  # the schedule was cleared meanwhile
        was_split = parcel.was_split
        part = parcel.parts.pop() if parcel.parts else parcel.items
        if said is Verdict.TAKEN:
            self._take(parcel, part, answer, now)
        elif said in {Verdict.REFUSED, Verdict.TOO_LARGE}:
            if len(part) > 1 and self._parts_may_do(said):
                middle = len(part) // 2
                parcel.parts += [part[middle:], part[:middle]]
                parcel.was_split = True
            else:
                self._refuse(parcel, part, answer, now)
        else:
            parcel.parts.clear()
            self._put_back(parcel, answer, now, at)
            return
        if parcel.items:
            if was_split:  # it goes on before another is split
                self.split.appendleft((parcel, answer))
            else:
                self.split.append((parcel, answer))
        elif not parcel.delivered:
            self.refused_in_a_row += 1
            self._refused_whole += parcel.was_split

    def next_split(self, now: float) -> Parcel | None:
        """The next refused parcel with a part to send, or None.

        Where splitting is hopeless, the whole parcel is refused.
        """
        while self.split:
            parcel, answer = self.split.popleft()
            if not self._shared.lanes.is_out(parcel):
                continue
            if self._parts_may_do(verdict(answer)) or len(parcel.parts) == 1:
                return parcel
            parcel.parts.clear()
            self._refuse(parcel, parcel.items, answer, now)
        return None

    def _take(self, parcel: Parcel, part: Sequence[Waiting], answer: Answer, now: float) -> None:
        if not self._shared.lanes.is_out(parcel):
            return
        self._refused_whole = self.refused_in_a_row = 0
        ledger = self._shared.ledger
        ledger.deliver(len(part))
        ledger.succeeded_at = now
        parcel.delivered += len(part)
        self._tell("delivered", part, answer)
        self._outbox.finish(part)
        if self._doubted:
            self._doubted.pop(parcel.key, None)
        self._shared.lanes.settle(parcel, part, now)

    def _take_all(self, parcels: Sequence[Parcel], answer: Answer, now: float) -> None:
        """`_take` for many whole parcels in one call."""
        lanes, ledger = self._shared.lanes, self._shared.ledger
        out = [parcel for parcel in parcels if lanes.is_out(parcel)]
        items = all_items(out)
        self._refused_whole = self.refused_in_a_row = 0
        ledger.deliver(len(items))
        ledger.succeeded_at = now
        if self._listened_to:
            for parcel in out:
                self._tell("delivered", parcel.items, answer)
        self._outbox.finish(items)
        for parcel in paced(out):
            self._doubted.pop(parcel.key, None)
            lanes.settle(parcel, parcel.items, now)

    def _refuse(self, parcel: Parcel, part: Sequence[Waiting], answer: Answer, now: float) -> None:
        self._outbox.keep_aside(part, f"{answer.summary} {answer.error}".strip())
        self._shared.ledger.refuse(len(part))
        self._log.refused(answer, len(part), self._kept)
        self._tell("refused", part, answer)
        self._outbox.finish(part)
        self._doubted.pop(parcel.key, None)
        self._shared.lanes.settle(parcel, part, now)

    def _put_back(self, parcel: Parcel, answer: Answer, now: float, at: float | None = None) -> None:
        lanes = self._shared.lanes
        if not lanes.is_out(parcel):
            return
        self._shared.ledger.retries += 1
        self._tell("retried", parcel.items, answer)
        for item in parcel.items:
            item.unanswered = item.unanswered or answer.may_have_it
        if at is None and parcel.key in self._doubted:
            at = self._breaker.now.until + 1.0  # another lane is tried first
        lanes.put_back(parcel, now, at)

    def _meaning(self, answer: Answer, parcel: Parcel) -> Verdict:
        """The verdict for one parcel.

        A firewall may reject a single body: if the endpoint took others since, the answer is about this batch and
        not about the key.
        """
        said = verdict(answer)
        if said is not Verdict.HOLD or not answer.may_concern_one_batch:
            return said
        if parcel.was_split or self._doubted.get(parcel.key, self._taken) < self._taken:
            return Verdict.REFUSED
        self._doubted.setdefault(parcel.key, self._taken)
        return said

    def _parts_may_do(self, said: Verdict) -> bool:
        # After several fully refused batches, halving would only multiply requests.
        return said is Verdict.TOO_LARGE or self._refused_whole < HOPELESS

    # What an answer says of the endpoint

    def _hear(self, answer: Answer, job: Job, now: float, said: Verdict | None = None) -> Change | None:
        """Apply an answer to the circuit breaker and the backlog's rate. Returns the change of state, or None."""
        since = self._breaker.now.since
        if answer.taken:
            self._taken += 1
            self._drain_faster(job)
        change = self._breaker.answered(answer, said or verdict(answer), now, probe=job.probe)
        if change is not None:
            sure = not self._taken or not answer.may_concern_one_batch
            waiting = waiting_entries(self._shared.intake, self._shared.ledger)
            self._log.changed(change, answer, waiting, now, sure=sure)
            if change == "recovered" and now - since >= OUTAGE:
                self.bulk.forget()
                self._shared.lanes.make_late()
        if change in {"outage", "held"}:
            self._shared.lanes.speed = 1.0
        return change

    def _drain_faster(self, job: Job) -> None:
        lanes = self._shared.lanes
        if lanes.late_entries and any(parcel.late for parcel in job.parcels):
            lanes.speed = min(lanes.speed + (BULK_FASTER if job.is_bulk else FASTER), FASTEST)

    def _tell(self, outcome: Outcome, part: Sequence[Waiting], answer: Answer) -> None:
        if self._listened_to:
            reason = "" if outcome == "delivered" else answer.summary
            self.events.append(DeliveryEvent(outcome, len(part), answer.status, reason, batch_of(part)))
