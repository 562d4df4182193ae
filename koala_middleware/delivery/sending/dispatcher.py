"""The dispatcher: the one owner of everything that waits, for one endpoint and key in one process.

Callers append batches and requests to its inbox. One thread handles them, decides what is sent when, and hands jobs to
senders. Where no thread can run, the calling thread does the same steps. Must not know forks or the end of the process.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakSet

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.delivery_log import DeliveryLog
from koala_middleware.delivery.gil import STRETCH, breathe, gathered
from koala_middleware.delivery.outbox import counters
from koala_middleware.delivery.outbox.base import Outbox, SharedState
from koala_middleware.delivery.report import DeliveryEvent, DeliveryReport, DeliveryStats, Health, State
from koala_middleware.delivery.schedule.items import Parcel, Waiting, batch_of
from koala_middleware.delivery.schedule.lanes import Lanes, Mark, longest_wait
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.delivery.sending.circuit_breaker import CircuitBreaker
from koala_middleware.delivery.sending.hook import Hook
from koala_middleware.delivery.sending.jobs import Job, Result, post
from koala_middleware.delivery.sending.settling import HOPELESS, Settling
from koala_middleware.delivery.sending.threads import Bell, DispatcherThread, Senders
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.base import Transport
from koala_middleware.delivery.transports.choosing import destination, transport_for
from koala_middleware.log_once import LogOnce
from koala_middleware.protocol.batches import Batch

TEND = 1.0  # seconds between two rounds of maintenance while entries wait
_AHEAD = 32  # single jobs kept ready, so that no sender waits for the dispatcher
_PEOPLE_PER_SENDER = 8
_GLANCE = 0.05  # seconds between two checks whether more senders are needed
_LOOK = 0.25  # seconds between two checks of a waiting caller whether the dispatcher is alive
_GRACE = 1.0  # seconds beyond its deadline that a caller waits for the dispatcher


@dataclass(slots=True, eq=False)
class Wait:
    """A request that its caller waits for.

    Attributes:
        mark: The schedule's mark of a flush that has begun.
        closes: Whether to release everything at the end. "last": also if others put something meanwhile.
        done: Set by the dispatcher at its end.
        complete: Everything that waited when it began is settled.
        number: The number of entries that a purge removed.
        within: The waiting thread is inside a post of its own (a signal handler), which it cannot await.
    """

    began: float
    deadline: float
    closes: str = ""
    mark: Mark = field(default_factory=lambda: Mark(0, 0))
    bell: Bell = field(default_factory=Bell)
    done: bool = False
    complete: bool = False
    number: int = 0
    within: bool = False

    def end(self) -> None:
        self.done = True
        self.bell.ring()


class Dispatcher:
    """Starts nothing until the first entry.

    Args:
        outbox_for: Makes the outbox that the settings name.
        driven: Callers do the steps, because no thread can or should run.
    Attributes:
        users: The deliveries that share it.
    """

    def __init__(
        self,
        config: KoalaConfig,
        outbox_for: Callable[[SharedState, KoalaConfig], Outbox],
        *,
        driven: bool = False,
    ) -> None:
        self._config = config
        self.users: WeakSet[object] = WeakSet()
        self._shared = SharedState(Lanes(config.flush_interval))
        self._outbox = outbox_for(self._shared, config)
        self._breaker = CircuitBreaker()
        self._hook = Hook(config.on_delivery)
        self._log = DeliveryLog(destination(config), config.alarm_after)
        self._settling = Settling(
            self._shared,
            self._outbox,
            self._breaker,
            self._log,
            kept="they are kept aside in the outbox" if config.outbox else "they are not sent again",
            listened_to=bool(self._hook),
        )
        self._driven = driven or config.delivery == "inline"
        self._beat = longest_wait(config.flush_interval)
        self._thread = DispatcherThread(self._step, lambda: bool(self._shared.inbox), self._beat)
        self._senders = Senders(
            config.concurrency,
            transport=partial(transport_for, config),
            post=self._post,
            answered=self._answered,
            wake=self._wake,
        )
        self._posting: list[int] = []  # the callers' threads that post themselves
        self._transports: list[Transport] = []  # theirs
        self._stepping = threading.Lock()
        self._stepper = 0  # the thread that is in a step
        self._waits: list[Wait] = []
        self._out: set[Job] = set()
        self._bulks: set[Job] = set()  # of these
        self._split: Job | None = None  # the job with a part of a refused batch
        self._hurried_at = self._tended_at = -math.inf
        self._last_queued = 0
        self._closed = False
        self._told_dropped: dict[str, int] = {}
        self._notices = LogOnce()
        self._oldest: float | None = None
        self._snapshot = self._shared.ledger.snapshot(None)

    # On any thread

    @property
    def shutdown_timeout(self) -> float:
        return self._config.shutdown_timeout

    def put(self, batch: Batch) -> None:
        """Accept a batch. Waits only with inline delivery."""
        came = monotonic()
        self._outbox.put(batch, came)
        self._closed = False
        if self._driven:
            self.flush(self._config.shutdown_timeout)
        else:
            self._thread.note(came)

    def reject(self, entries: int, reason: str) -> None:
        """Count entries that were dropped before they came here."""
        self._shared.intake.reject(entries, reason)

    def set_aside(self, batch: Batch, reason: str) -> None:
        """Keep a batch that must not be sent with the refused entries."""
        self._shared.intake.refused += len(batch.entries)
        self._ask(partial(self._keep_aside, batch, reason))

    def stats(self) -> DeliveryStats:
        """The statistics. Never waits."""
        clocks = monotonic(), time.time()
        return counters.stats_of(self._shared.intake, self._snapshot, clocks, self._outbox.waiting_bytes())

    def health(self) -> Health:
        stats, breaker = self.stats(), self._breaker.now
        state: State = "delivering" if stats.waiting else "idle"
        if breaker.state != "closed":
            state = breaker.state
        unserved = _unserved(stats)
        reason = ""
        if breaker.answer is not None:
            reason = f"{destination(self._config)}: {breaker.answer.summary}"
        elif self._settling.refused_in_a_row >= HOPELESS:
            reason = f"{destination(self._config)} refuses everything"
        elif unserved >= self._config.alarm_after:
            reason = f"nothing was delivered for {unserved:.0f} s while entries wait"
        elif trouble := self._outbox.trouble:
            reason = trouble
        ok = breaker.state != "held" and unserved < self._config.alarm_after and not self._outbox.trouble
        ok = ok and self._settling.refused_in_a_row < HOPELESS
        return Health(ok, state, reason, stats.waiting, stats.oldest_waiting_age, stats.last_success)

    def flush(self, timeout: float) -> DeliveryReport:
        """Send what waits now. Ends when that is settled, when it is hopeless, or after `timeout`."""
        return self._wait_for(Wait(began := monotonic(), began + timeout), self._begin_flush)

    def close(self, timeout: float, *, last: bool = False) -> DeliveryReport:
        """Flush, then release everything. Entries only in memory are lost, counted and logged.

        Called from on_delivery it only flushes. If others put something meanwhile, delivery goes on for them, unless
        this is the `last` call: the process ends.
        """
        if self._stepper == threading.get_ident():
            return self.flush(timeout)
        if self._closed and not self._shared.inbox:  # and nothing came since then
            self._close_transports()
            return DeliveryReport(complete=True, waiting=self.stats().waiting)
        began = monotonic()
        wait = Wait(began, began + timeout, closes="last" if last else "yes")
        return self._wait_for(wait, self._begin_flush, help_out=last)

    def purge(self, people: People) -> int:
        """Remove these people's waiting entries. Returns their number."""
        wait = Wait(began := monotonic(), began + 10 * _GRACE)
        self._wait_for(wait, partial(self._purge, people))
        return wait.number

    def look_around(self) -> None:
        """Adopt the files of dead processes."""
        wait = Wait(began := monotonic(), began + 10 * _GRACE)
        self._wait_for(wait, self._look_around)

    def begin_search(self) -> None:
        """The same, without waiting for it."""
        self._ask(self._outbox.look_around)

    def forget(self) -> None:
        """Forget what waits: its broker still has it, so it counts as never accepted."""
        wait = Wait(began := monotonic(), began + _GRACE)
        self._wait_for(wait, self._forget)

    def abandon(self) -> None:
        """In a forked child, leave everything to the parent. Takes no lock."""
        self._outbox.abandon()

    # Asking, and waiting for it

    def _wake(self) -> None:
        if not self._driven:
            self._thread.wake()

    def _ask(self, request: Callable[[float], None]) -> None:
        self._shared.inbox.append(request)
        self._wake()
        if self._driven:
            self._step()

    def _wait_for(
        self, wait: Wait, begin: Callable[[Wait, float], None], *, help_out: bool = False
    ) -> DeliveryReport:
        """Have the dispatcher begin a request, and wait for its end until the deadline and a short grace.

        Args:
            help_out: The calling thread posts as well, since no thread can be started at the end of the process.
        """
        before = self.stats()
        self._shared.inbox.append(partial(begin, wait))
        me = threading.get_ident()
        wait.within = me in self._posting
        while not wait.done and self._stepper != me and (left := wait.deadline + _GRACE - monotonic()) > 0:
            self._wake()
            alone = self._driven or not self._thread.alive
            pause = self._step() if alone else _GLANCE if help_out else _LOOK
            if wait.done or ((alone or help_out) and self._post_here(wait.deadline)):
                continue
            wait.bell.wait(min(pause, left))
        if wait.closes or not self._driven:
            self._close_transports()
        return self._report(before, wait)

    def _post_here(self, deadline: float) -> bool:
        """Post one job on the calling thread; False if there was none."""
        me = threading.get_ident()
        self._posting.append(me)
        try:
            job = self._senders.take() if monotonic() < deadline else None
            if job is not None:
                self._senders.report(job, self._post_by(job, deadline))
        finally:
            self._posting.remove(me)
        return job is not None

    def _post_by(self, job: Job, deadline: float) -> Result:
        try:
            transport = self._transports.pop()
        except IndexError:
            transport = transport_for(self._config)
        result = self._post(job, transport, deadline)
        self._transports.append(transport)
        return result

    def _close_transports(self) -> None:
        with suppress(IndexError):
            while True:
                self._transports.pop().close()

    def _post(self, job: Job, transport: Transport, deadline: float = math.inf) -> Result:
        job.began = monotonic()
        return post(job, transport, min(self._config.request_timeout, max(deadline - job.began, 0.05)))

    def _answered(self, job: Job, result: Result) -> bool:
        """Append the result to the inbox. Returns whether the endpoint may be given more at once."""
        self._shared.inbox.append(partial(self._settle, job, result))
        return not isinstance(result, Answer) or result.taken

    def _report(self, before: DeliveryStats, wait: Wait) -> DeliveryReport:
        after = self.stats()
        return DeliveryReport(
            complete=wait.complete,
            delivered=after.delivered - before.delivered,
            waiting=after.waiting,
            refused=after.refused - before.refused,
            dropped=sum(after.dropped.values()) - sum(before.dropped.values()),
            seconds=monotonic() - wait.began,
        )

    # The steps: one thread at a time

    def _step(self) -> float:
        """Do what is due. Returns the seconds until there may be more, infinite if nothing waits."""
        me = threading.get_ident()
        if self._stepper == me:  # a signal handler, or on_delivery
            return _GLANCE
        with self._stepping:
            self._stepper = me
            try:
                return self._do_step()
            finally:
                self._stepper = 0

    def _do_step(self) -> float:
        now = monotonic()
        self._empty_inbox(now)
        self._tend(now)
        wait = min(self._give_out(now), self._end_waits(now))
        self._publish()
        if self._tell() or self._shared.inbox:
            return min(wait, self._beat)
        return wait

    def _empty_inbox(self, now: float) -> None:
        inbox = self._shared.inbox
        for number in range(len(inbox)):
            came = inbox.popleft()
            try:
                if isinstance(came, tuple):
                    self._outbox.take_in(came, now)
                else:
                    came(now)
            except Exception as error:  # noqa: BLE001  (a bug, or a batch unlike any other: the rest goes on)
                self._notices.error("a batch or an answer could not be taken in", error)
                if isinstance(came, tuple):
                    self._shared.ledger.drop(len(came[0].entries), counters.ERROR)
            if number % STRETCH == STRETCH - 1:
                breathe()
        self._outbox.read_on(now)

    def _tend(self, now: float) -> None:
        if now - self._tended_at < TEND:
            return
        self._tended_at = now
        self._outbox.tend(now)
        self._oldest = None  # to be looked up again
        self._publish()
        stats = self.stats()
        self._log.look(stats, _unserved(stats), now)

    def _publish(self) -> None:
        lanes = self._shared.lanes
        if not lanes.entries:
            self._oldest = None
        elif self._oldest is None:
            self._oldest = lanes.oldest()
        self._snapshot = self._shared.ledger.snapshot(self._oldest)

    def _tell(self) -> bool:
        """Call on_delivery. Returns whether there were events."""
        events, self._settling.events = self._settling.events, []
        if not self._hook:
            return False
        stats = self.stats()
        if stats.dropped != self._told_dropped:
            told, self._told_dropped = self._told_dropped, dict(stats.dropped)
            for reason, entries in stats.dropped.items():
                if more := entries - told.get(reason, 0):
                    events.append(DeliveryEvent("dropped", more, reason=reason))
        for event in events:
            self._hook.tell(event)
        return bool(events)

    # Giving out

    def _give_out(self, now: float) -> float:
        """Hand due jobs to senders. Returns the seconds until there may be more."""
        self._give_parts(now)
        while self._has_room(now):
            wait = self._breaker.wait(now, hurried_at=self._hurried_at)
            if wait > 0:
                return self._until(wait)
            job = self._next_job(now)
            if job is None:
                break
            self._give(job, now)
        self._start_senders()
        if self._breaker.closed:
            self._senders.go_on()
        return self._until(self._shared.lanes.next_due(now) if self._has_room(now) else math.inf)

    def _give_parts(self, now: float) -> None:
        """Send the remaining parts of refused batches first."""
        # One refused batch at a time, so that an endpoint that refuses everything is noticed early.
        while self._split is None:
            parcel = self._settling.next_split(now)
            if parcel is None:
                return
            if self._breaker.closed:
                self._split = Job([parcel], [batch_of(parcel.parts[-1])])
                self._give(self._split, now, first=True)
            else:
                parcel.parts.clear()
                self._shared.lanes.release([parcel])

    def _until(self, wait: float) -> float:
        """The time until the next check, at most `wait`."""
        if self._senders.jobs and not self._driven:
            wait = min(wait, _GLANCE)
        if self._shared.lanes.entries or self._outbox.behind or self._out:
            wait = min(wait, TEND)
        return wait

    def _has_room(self, now: float) -> bool:
        if self._outbox.hands_over:
            return False
        if not self._breaker.closed:
            return not self._out
        if self._bulks:  # due entries gather in the next bulk request
            at_once = 2 if self._waits and not self._settling.bulk.asking else 1
            slow = all(now - job.began > self._beat for job in self._bulks)
            return len(self._out) < (self._config.concurrency if slow else at_once)
        return len(self._senders.jobs) < _AHEAD

    def _next_job(self, now: float) -> Job | None:
        lanes, bulk = self._shared.lanes, self._settling.bulk
        most = bulk.most(now) if self._breaker.closed else 1
        while True:
            parcels = lanes.claimed(gathered(lanes.claim(now, most)), now)
            oldest = now - self._outbox.max_age
            claimed = [
                one for one in parcels if one.items[0].came > oldest or self._is_young(one, oldest, now)
            ]
            if claimed or not parcels:
                break
        if not claimed:
            return None
        job = Job(claimed, [batch_of(parcel.items) for parcel in claimed])
        if job.is_bulk and bulk.offered is None:
            job.ask = bulk.asking = True
        return job

    def _is_young(self, parcel: Parcel, oldest: float, now: float) -> bool:
        """Drop expired items. Returns whether any are left."""
        old = [item for item in parcel.items if item.came <= oldest]
        self._shared.ledger.drop(len(old), counters.TOO_OLD)
        self._outbox.finish(old)
        self._shared.lanes.settle(parcel, old, now)
        return bool(parcel.items)

    def _give(self, job: Job, now: float, *, first: bool = False) -> None:
        job.probe = self._breaker.let_through()
        job.began = now
        self._out.add(job)
        if job.is_bulk:
            self._bulks.add(job)
        self._senders.give(job, first=first, start=not self._driven)

    def _start_senders(self) -> None:
        """Start another sender if jobs wait: at once for more than eight per sender, else at the second check."""
        senders, queued = self._senders, len(self._senders.jobs)
        too_few = queued > _PEOPLE_PER_SENDER * senders.alive or self._last_queued
        if not self._driven and queued and too_few and not senders.resting:
            senders.start_another()
        self._last_queued = queued

    # Requests

    def _settle(self, job: Job, result: Result, now: float) -> None:
        self._came_back(job)
        try:
            self._settling.settle(job, result, now)
        finally:
            if not self._breaker.closed:
                self._take_jobs_back()

    def _take_jobs_back(self) -> None:
        """Take back jobs that no sender has begun."""
        jobs = self._senders.take_all()
        for job in jobs:
            self._came_back(job)
        self._settling.unsent(jobs)

    def _came_back(self, job: Job) -> None:
        self._out.discard(job)
        self._bulks.discard(job)
        if job is self._split:
            self._split = None

    def _give_up_jobs(self) -> None:
        """Forget all jobs, so that late answers have no effect."""
        for jobs in (self._out, self._bulks):
            jobs.clear()
        self._split = None
        self._settling.split.clear()

    def _keep_aside(self, batch: Batch, reason: str, now: float) -> None:
        at = time.time()
        items = [Waiting(one.kind, one.body, batch.subject, batch.ip, now, at) for one in batch.entries]
        self._outbox.keep_aside(items, reason)

    def _begin_flush(self, wait: Wait, now: float) -> None:
        self._hurried_at = wait.began
        self._outbox.look_around(now)
        wait.mark = self._shared.lanes.hurry()
        self._waits.append(wait)

    def _end_waits(self, now: float) -> float:
        """End complete and hopeless flushes. Returns the seconds until the next deadline."""
        for wait in tuple(self._waits):
            settled = wait.mark.left <= 0 and (self._outbox.hands_over or not self._outbox.behind)
            hopeless = not self._out and self._breaker.open_beyond(wait.deadline, since=wait.began)
            if settled or hopeless or now >= wait.deadline or self._is_all_within(wait):
                wait.complete = settled
                self._waits.remove(wait)
                came_since = self._shared.lanes.entries > wait.mark.left
                self._shared.lanes.relax(wait.mark)
                if wait.closes == "last" or (wait.closes and not came_since and not self._put_since()):
                    self._end()
                self._publish()
                wait.end()
        return min([wait.deadline - now for wait in self._waits], default=math.inf)

    def _is_all_within(self, wait: Wait) -> bool:
        """Whether only the waiting thread's own post is left."""
        if not wait.within or self._senders.alive or self._senders.jobs or len(set(self._posting)) > 1:
            return False
        in_hand = sum(len(parcel.items) for job in self._out for parcel in job.parcels)
        return wait.mark.left <= in_hand and not self._outbox.behind

    def _put_since(self) -> bool:
        return any(isinstance(came, tuple) for came in tuple(self._shared.inbox))

    def _end(self) -> None:
        """Release everything."""
        before = self.stats()
        self._take_jobs_back()
        self._outbox.close()
        self._give_up_jobs()
        self._publish()
        self._log.ended(self.stats(), before)
        self._senders.dismiss()
        self._thread.dismiss()
        self._closed = True

    def _purge(self, people: People, wait: Wait, now: float) -> None:  # noqa: ARG002  (as every request)
        wait.number = self._outbox.purge(people)
        self._publish()
        wait.end()

    def _look_around(self, wait: Wait, now: float) -> None:
        self._outbox.look_around(now)
        self._publish()
        wait.end()

    def _forget(self, wait: Wait, now: float) -> None:  # noqa: ARG002
        self._take_jobs_back()
        unanswered, rest = self._shared.lanes.clear()
        for items in (unanswered, rest):
            self._shared.ledger.forgotten += len(items)
            self._outbox.finish(items)
        self._give_up_jobs()
        self._publish()
        wait.end()


def _unserved(stats: DeliveryStats) -> float:
    """How long entries have waited without any delivery, in seconds."""
    if stats.oldest_waiting_age is None:
        return 0.0
    since_success = math.inf if stats.last_success is None else time.time() - stats.last_success
    return max(min(stats.oldest_waiting_age, since_success), 0.0)
