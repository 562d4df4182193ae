"""Threads: one for the dispatcher, a few for senders. They start when there is work and end when there is none.

Nothing on the app's path waits here: waking a thread releases a lock that nobody contends for. Must not know what a
job is about.
"""

from __future__ import annotations

import contextvars
import math
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.sending.jobs import Job, Result
from koala_middleware.delivery.transports.base import Transport
from koala_middleware.log_once import LogOnce

IDLE = 5.0  # seconds without work after which a thread ends
_FEW = 4  # jobs; a sender that leaves fewer behind wakes the dispatcher for more

_notices = LogOnce()


class Bell:
    """Wakes one waiting thread. Ringing never blocks, so it is safe in signal handlers and finalizers."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with suppress(RuntimeError):  # it is ringing already
            self._silence.release()

    def wait(self, seconds: float) -> bool:
        return self._silence.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX))


def start_thread(run: Callable[[], None], name: str) -> bool:
    """Start a daemon thread; False if the interpreter is ending or no thread is available."""
    try:
        # An empty context: the thread inherits no request's span, scope or person.
        threading.Thread(target=contextvars.Context().run, args=(run,), name=name, daemon=True).start()
    except RuntimeError:
        return False
    return True


class DispatcherThread:
    """Runs `step` whenever it is due.

    Args:
        step: Does what is to be done; seconds until there may be more, infinite when nothing waits.
        asked: Something lies in the inbox.
        beat: Seconds that something in the inbox may wait: a nap that ends within them is not cut short.
    """

    def __init__(self, step: Callable[[], float], asked: Callable[[], bool], beat: float) -> None:
        self._step = step
        self._asked = asked
        self._beat = beat
        self._bell = Bell()
        self._starting = threading.Lock()
        self._dismissed = False
        self._sleeps_until = math.inf
        self.alive = False

    def note(self, came: float) -> None:
        """Note that the inbox has a message since `came`, which may wait for a beat."""
        self._dismissed = False
        if not self.alive:
            self._start()
        elif self._sleeps_until > came + self._beat:
            self._bell.ring()

    def wake(self) -> None:
        """Wake the thread at once."""
        self._dismissed = False
        if not self.alive:
            self._start()
        self._bell.ring()

    def dismiss(self) -> None:
        """End the thread: its owner has released everything. A message that is in the inbox starts another."""
        self._dismissed = True
        self._bell.ring()

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # another thread is starting it
        try:
            if not self.alive:
                self.alive, self._dismissed = True, False
                if not start_thread(self._run, "koala-delivery"):
                    self.alive = False
        finally:
            self._starting.release()

    def _run(self) -> None:
        try:
            self._go_on()
        except Exception as error:  # noqa: BLE001  (delivery must not stop silently)
            _notices.error("delivery failed; the next entry starts it again", error)
        finally:
            self.alive = False
        if self._asked():  # it came between our last check and our end
            self._start()

    def _go_on(self) -> None:
        idle_since = None
        while True:
            self._sleeps_until = -math.inf  # awake: messages from now on are seen before we sleep
            wait = self._step()
            if self._dismissed:
                return
            now = monotonic()
            if math.isfinite(wait):
                idle_since = None
            else:
                idle_since = idle_since or now
                wait = idle_since + IDLE - now
                if wait <= 0:
                    return
            self._sleeps_until = now + wait
            if self._asked():  # while we checked
                wait = min(wait, self._beat)
                self._sleeps_until = now + wait
            self._bell.wait(wait)


class Senders:
    """Up to `size` threads that post jobs. The last one used is used first: its connection is warm.

    Args:
        post: Posts a job by a transport.
        answered: Takes the result, on the sender's thread.
        wake: Asks the dispatcher for more jobs.
    Attributes:
        jobs: That nobody has begun.
        resting: How senders that wait for a job are woken.
    """

    def __init__(
        self,
        size: int,
        *,
        transport: Callable[[], Transport],
        post: Callable[[Job, Transport], Result],
        answered: Callable[[Job, Result], bool],
        wake: Callable[[], None],
    ) -> None:
        self._size = size
        self._transport = transport
        self._post = post
        self._answered = answered
        self._wake = wake
        self.jobs: deque[Job] = deque()
        self.resting: list[Bell] = []
        self._stopped = False
        self._dismissed = False
        self.alive = 0

    def give(self, job: Job, *, first: bool = False, start: bool = True) -> None:
        """Hand a job to a sender. Called by the dispatcher.

        Args:
            start: A thread is started where there is none.
        """
        self._stopped = self._dismissed = False
        if first:
            self.jobs.appendleft(job)
        else:
            self.jobs.append(job)
        if not self._ring_one() and start and self.alive == 0:
            self.start_another()

    def go_on(self) -> None:
        """Go on after an answer that was about one batch alone. Called by the dispatcher."""
        if self._stopped:
            self._stopped = False
            for _ in range(len(self.jobs)):
                self._ring_one()

    def start_another(self) -> bool:
        """Start another thread, up to the limit. Called by the dispatcher."""
        if self.alive >= self._size:
            return False
        self.alive += 1
        if not start_thread(self._run, "koala-delivery"):
            self.alive -= 1
            return False
        return True

    def take(self) -> Job | None:
        """Remove and return the next job."""
        if self._stopped:
            return None
        try:
            return self.jobs.popleft()
        except IndexError:
            return None

    def take_all(self) -> list[Job]:
        """Remove and return the jobs that no thread has begun."""
        jobs: list[Job] = []
        with suppress(IndexError):
            while True:
                jobs.append(self.jobs.popleft())
        return jobs

    def report(self, job: Job, result: Result) -> None:
        """Report a result, on the thread that posted the job.

        After a failure no job begins before the dispatcher knows.
        """
        went_well = self._answered(job, result)
        if not went_well:
            self._stopped = True
        if not went_well or len(self.jobs) < _FEW:
            self._wake()

    def dismiss(self) -> None:
        """End resting threads."""
        self._dismissed = True
        while self._ring_one():
            pass

    def _ring_one(self) -> bool:
        try:
            self.resting.pop().ring()
        except IndexError:
            return False
        return True

    def _run(self) -> None:
        transport = self._transport()
        bell = Bell()
        try:
            while self._work(bell, transport):
                pass
        except Exception as error:  # noqa: BLE001  (as above)
            _notices.error("a sender failed; another takes its place", error)
        finally:
            self.alive -= 1
            transport.close()

    def _work(self, bell: Bell, transport: Transport) -> bool:
        """Post one job; False if there was none for a while."""
        job = self.take()
        if job is None:
            self.resting.append(bell)
            job = self.take()  # it may have come before we were resting
        if job is None:
            if bell.wait(IDLE):
                return not self._dismissed
            try:
                self.resting.remove(bell)
            except ValueError:  # another thread is ringing it
                return True
            return False
        with suppress(ValueError):
            self.resting.remove(bell)
        self.report(job, self._post(job, transport))
        return True
