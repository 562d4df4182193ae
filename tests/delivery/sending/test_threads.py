"""The crew: who watches and who sends, with real threads and an outbox that is a queue."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from koala_middleware.delivery.schedule.lanes import Parcel
from koala_middleware.delivery.sending.threads import Crew, Pause
from koala_middleware.delivery.transports.base import Transport

Eventually = Callable[..., None]  # conftest.py's; reaches tests as a fixture
MANY = cast("list[Parcel]", ["one", "another"])


class Nothing:
    """A transport that is never asked."""

    def close(self) -> None: ...


class Office:
    """A crew of four; `sent` holds the thread behind each delivery.

    Attributes:
        waits: What the next claim finds.
        answers: Each delivery waits for one.
    """

    def __init__(self, *, linger: float) -> None:
        self.waits: deque[list[Parcel]] = deque()
        self.sent: list[int] = []
        self.begun: list[int] = []
        self.answers = threading.Semaphore(0)
        self.crew = Crew(
            4,
            claim=lambda: self.waits.popleft() if self.waits else Pause(math.inf),
            deliver=self.deliver,
            tend=lambda: None,
            due=lambda: 0.0 if self.waits else math.inf,
            transport=lambda: cast("Transport", Nothing()),
            linger=linger,
        )

    def deliver(self, _parcels: list[Parcel], _transport: Any) -> None:
        self.begun.append(threading.get_ident())
        self.answers.acquire(timeout=20)
        self.sent.append(threading.get_ident())

    def put(self, parcels: list[Parcel]) -> None:
        self.waits.append(parcels)
        self.crew.summon(1)


def test_one_thread_goes_on_sending_many_parcels_together(eventually: Eventually) -> None:
    """Threads that take turns beside a busy app wait for it at every turn."""
    office = Office(linger=60)
    office.put(MANY)
    for number in range(1, 21):
        eventually(lambda number=number: len(office.begun) == number)
        office.put(MANY)  # while it is being sent
        office.answers.release()
    office.answers.release()
    eventually(lambda: len(office.sent) == 21)
    assert len(set(office.sent)) == 1
    assert office.crew.alive == 1
    office.crew.dismiss()


def test_who_is_kept_by_a_slow_endpoint_is_relieved(eventually: Eventually) -> None:
    office = Office(linger=0)
    office.put(MANY)
    eventually(lambda: len(office.begun) == 1)
    office.put(MANY)  # after more than the longest wait of an entry, which is nothing here
    eventually(lambda: len(office.begun) == 2)
    assert len(set(office.begun)) == 2
    office.answers.release(2)
    office.crew.dismiss()


def test_a_flush_waits_for_nobody_who_sends(eventually: Eventually) -> None:
    office = Office(linger=60)
    office.put(MANY)
    eventually(lambda: len(office.begun) == 1)
    office.put(MANY)
    office.crew.wake()
    eventually(lambda: len(office.begun) == 2)
    office.answers.release(2)
    eventually(lambda: len(office.sent) == 2)
    office.crew.dismiss()


def test_who_was_relieved_takes_turns_again(eventually: Eventually) -> None:
    office = Office(linger=0)
    for round_ in range(1, 11):
        office.put(MANY)
        office.put(MANY)
        eventually(lambda round_=round_: len(office.begun) == 2 * round_)
        office.answers.release(2)
        eventually(lambda round_=round_: len(office.sent) == 2 * round_)
    assert office.crew.alive <= 4
    office.crew.dismiss()
