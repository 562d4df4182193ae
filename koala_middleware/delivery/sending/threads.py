"""The crew: the few daemon threads that deliver, started when there is something to do and gone when there
is not.

One thread at a time watches the outbox; the others send, or wait for their turn to watch. Who sends many parcels
together keeps the turn meanwhile: threads that take turns wait for each other and the app, and beside a busy app
that cost more than what they sent. Must not know what a parcel is about. Nothing on the app's path waits here:
waking a thread releases a lock that nobody contends for.
"""

from __future__ import annotations

import contextvars
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from koala_middleware.delivery.schedule.lanes import Parcel
from koala_middleware.delivery.transports.base import Transport
from koala_middleware.log_once import LogOnce

IDLE = 5.0  # seconds without work after which a thread ends
PEOPLE_PER_THREAD = 8
TEND = 1.0  # seconds between two rounds of care while something waits


class Bell:
    """Wakes one waiting thread. Ringing never blocks, wherever it happens: signal handlers, finalisers."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._silence.release()

    def wait(self, seconds: float) -> bool:
        return self._silence.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX))


class Turn:
    """The turn to watch, which one thread has at a time. Anybody may end it, also for whoever has it."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._had_by: list[int] = []

    def take(self, seconds: float) -> bool:
        """Whether it is the calling thread's now, as it may have been before."""
        if self.mine:
            return True
        if not self._free.acquire(timeout=seconds):
            return False
        self._had_by = [threading.get_ident()]
        return True

    def end(self) -> None:
        with suppress(IndexError):  # nobody has it, or it has been ended just now
            self._had_by.pop()
            self._free.release()

    def end_mine(self) -> None:
        if self.mine:
            self.end()

    @property
    def mine(self) -> bool:
        return self._had_by == [threading.get_ident()]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to send for so many seconds, perhaps infinite.

    Attributes:
        ends_early: A new entry may be due before that.
    """

    seconds: float
    ends_early: bool = True


class Crew:
    """Up to `size` threads.

    Args:
        claim: The next parcels, or how long to pause.
        deliver: Sends and settles parcels.
        tend: Called by the watching thread before each look, so often.
        due: Seconds until something could be sent, infinite when nothing waits.
        linger: Seconds that a new entry can wait: a nap that ends within it need not be cut short.
    """

    def __init__(
        self,
        size: int,
        *,
        claim: Callable[[], list[Parcel] | Pause],
        deliver: Callable[[list[Parcel], Transport], None],
        tend: Callable[[], None],
        due: Callable[[], float],
        transport: Callable[[], Transport],
        linger: float,
    ) -> None:
        self._size = size
        self._claim = claim
        self._deliver = deliver
        self._tend = tend
        self._due = due
        self._transport = transport
        self._linger = linger
        self._starting = threading.RLock()
        self._turn = Turn()
        self._relief = math.inf  # when who sends and keeps the turn is relieved of it
        self._together = False  # the last one sent many parcels together
        self._bell = Bell()
        self._threads: set[int] = set()
        self._alive = 0
        self._watching = False
        self._nap_until = math.inf
        self._dismissed = False
        self._notices = LogOnce()

    @property
    def alive(self) -> int:
        return self._alive

    def is_crew(self) -> bool:
        """The calling thread is one of these."""
        return threading.get_ident() in self._threads

    def summon(self, people: int) -> None:
        """There is a new entry: makes sure that a thread looks at it in time.

        Args:
            people: How many have entries waiting. For many there are several threads, before they are needed:
                at the end of the process no more can be started.
        """
        self._dismissed = False
        watched, now = self._watching, time.monotonic()
        if self._relief <= now:
            self._relieve()
        attended = watched or self._relief < math.inf
        crowded = not self._together and self._alive <= people // PEOPLE_PER_THREAD
        if self._alive < self._size and (crowded or not attended):
            self._start()
        elif watched and self._nap_until > now + self._linger:
            self._bell.ring()

    def wake(self) -> None:
        """Something is due at once."""
        if self._relief < math.inf:
            self._relieve()
        if not self._watching:
            self._start()
        self._bell.ring()

    def _relieve(self) -> None:
        """Whoever sends and keeps the turn does so for too long: another thread is to watch."""
        self._relief = math.inf
        self._turn.end()

    def dismiss(self) -> None:
        """The threads end as soon as they have nothing in hand; the next entry starts new ones."""
        self._dismissed = True
        self._bell.ring()

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # another thread starts one at this moment
        try:
            if self._alive < self._size:
                self._alive += 1
                # An empty context: no request's span, scope or person goes along.
                thread = threading.Thread(
                    target=contextvars.Context().run, args=(self._run,), name="koala-delivery", daemon=True
                )
                thread.start()
        except RuntimeError:
            self._alive -= 1  # the interpreter ends, or the machine has no thread left: the end delivers
        finally:
            self._starting.release()

    def _run(self) -> None:
        self._threads.add(threading.get_ident())
        transport = self._transport()
        try:
            while self._watch_and_deliver(transport):
                pass
        except Exception as error:  # noqa: BLE001  (a crew that dies must not do it in silence)
            self._notices.error("a delivery thread failed; the next entry starts another", error)
        finally:
            self._turn.end_mine()
            transport.close()
            self._threads.discard(threading.get_ident())
            with self._starting:
                self._alive -= 1
        # An entry may have come between our last look and our leaving: then somebody has to stay.
        if self._alive == 0 and math.isfinite(self._due()) and not self._dismissed:
            self._start()

    def _watch_and_deliver(self, transport: Transport) -> bool:
        """One turn; False when there was nothing to do for a while."""
        if not self._turn.take(IDLE):
            return False
        try:
            parcels = self._watch()
        finally:
            self._watching = False
        if parcels is None:
            return False
        more = self._due() == 0
        self._together = len(parcels) > 1
        if self._together and not more:
            self._relief = time.monotonic() + self._linger
        else:
            self._turn.end_mine()
        if more and self._alive < self._size:
            self._start()
        self._deliver(parcels, transport)
        if self._turn.mine:
            self._relief = math.inf
            return True
        # The rest of that lane may go on now, sooner than the one who watches means to wake up.
        if self._watching and self._nap_until > time.monotonic() + self._due():
            self._bell.ring()
        return True

    def _watch(self) -> list[Parcel] | None:
        """Waits for the next parcels; None when nothing came for a while."""
        idle_since = time.monotonic()
        self._watching = True
        while not self._dismissed:
            # Said before looking: an entry that comes after the look finds us asleep and rings.
            self._nap_until = math.inf
            self._tend()
            found = self._claim()
            if not isinstance(found, Pause):
                return found
            now = time.monotonic()
            if math.isfinite(found.seconds):
                idle_since = now
            elif now - idle_since >= IDLE:
                return None
            self._nap_until = now + found.seconds if found.ends_early else -math.inf
            self._bell.wait(min(found.seconds, TEND))
        return None
