"""The dispatcher's thread and the senders', with real threads and work that is a counter."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.sending import threads
from koala_middleware.delivery.sending.jobs import Job, Result
from koala_middleware.delivery.sending.threads import Bell, DispatcherThread, Senders
from koala_middleware.delivery.transports.answers import Answer

Eventually = Callable[..., None]  # conftest.py's; reaches tests as a fixture


class Steps:
    """What a dispatcher's thread runs. Attributes: `pause` it is told after a step, `asked` that something waits."""

    def __init__(self, pause: float = math.inf, beat: float = 0.0) -> None:
        self.number = 0
        self.pause = pause
        self.asked = False
        self.thread = DispatcherThread(self.step, lambda: self.asked, beat)

    def step(self) -> float:
        self.number += 1
        self.asked = False
        return self.pause

    def put(self) -> None:
        self.asked = True
        self.thread.note(monotonic())


def test_an_idle_thread_ends_by_itself_and_the_next_entry_starts_another(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "IDLE", 0.01)
    steps = Steps()
    for round_ in range(1, 4):
        steps.put()
        eventually(lambda round_=round_: steps.number >= round_ and not steps.thread.alive)


def test_whatever_comes_while_the_thread_leaves_is_seen(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "IDLE", 0.0)
    steps = Steps()
    for _ in range(300):
        steps.put()
        eventually(lambda: not steps.asked)


def test_entries_wake_the_thread_once_a_beat_at_most(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that is woken takes the interpreter from the app: more than a whole request of ours costs."""
    steps = Steps(pause=0.5, beat=60.0)
    steps.put()
    eventually(lambda: steps.number >= 1 and steps.thread._sleeps_until > 0)
    rung: list[Bell] = []
    with monkeypatch.context() as patched:
        patched.setattr(Bell, "ring", rung.append)
        for _ in range(1000):
            steps.put()
    assert rung == []
    steps.thread.dismiss()


def test_a_step_that_raises_ends_the_thread_and_the_next_entry_starts_another(
    eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    steps = Steps()
    broken = [1]

    def step() -> float:
        if broken:
            broken.pop()
            raise RuntimeError
        return steps.step()

    thread = DispatcherThread(step, lambda: False, 0.0)
    thread.note(monotonic())
    eventually(lambda: not thread.alive)
    assert "delivery failed" in caplog.text
    thread.note(monotonic())
    eventually(lambda: steps.number == 1)
    thread.dismiss()


class Office:
    """Senders whose posts wait for `go`. Attributes: `begun` and `ended` hold the thread behind each job."""

    def __init__(self, size: int) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.woken = 0
        self.go = threading.Semaphore(0)
        self.result: Result = Answer(200)
        self.senders = Senders(
            size, transport=Nothing, post=self.post, answered=self.answered, wake=self.wake
        )

    def post(self, _job: Job, _transport: Any) -> Result:
        self.begun.append(threading.get_ident())
        self.go.acquire(timeout=20)
        return self.result

    def answered(self, _job: Job, result: Result) -> bool:
        self.ended.append(threading.get_ident())
        return isinstance(result, Answer) and result.taken

    def wake(self) -> None:
        self.woken += 1

    def give(self, number: int = 1) -> None:
        for _ in range(number):
            self.senders.give(Job([], []))


class Nothing:
    """A transport that is never asked."""

    def send(self, *_: object) -> Answer:
        raise NotImplementedError

    def close(self) -> None: ...


@pytest.fixture
def office() -> Iterator[Callable[[int], Office]]:
    made: list[Office] = []

    def make(size: int) -> Office:
        made.append(Office(size))
        return made[-1]

    yield make
    for each in made:
        each.senders.take_all()
        each.go.release(100)
        each.senders.dismiss()


def test_the_sender_that_rested_last_has_the_next_job(
    office: Callable[[int], Office], eventually: Eventually
) -> None:
    """Its connection is warm, and the others may end."""
    four = office(4)
    for number in range(1, 21):
        four.give()
        four.go.release()
        eventually(lambda number=number: len(four.ended) == number and len(four.senders.resting) == 1)
    assert len(set(four.ended)) == 1
    assert four.senders.alive == 1


def test_jobs_go_to_as_many_senders_as_are_started(
    office: Callable[[int], Office], eventually: Eventually
) -> None:
    four = office(4)
    four.give(6)
    assert [four.senders.start_another() for _ in range(4)] == [True, True, True, False]
    eventually(lambda: len(four.begun) == 4)
    assert (len(set(four.begun)), len(four.senders.jobs)) == (4, 2)
    four.go.release(6)
    eventually(lambda: len(four.ended) == 6)


def test_after_a_failure_nobody_begins_another_before_the_dispatcher_knows(
    office: Callable[[int], Office], eventually: Eventually
) -> None:
    one = office(1)
    one.result = Answer(503)
    one.give(20)
    one.go.release(20)
    eventually(lambda: one.woken == 1)
    assert (len(one.ended), len(one.senders.jobs), one.senders.take()) == (1, 19, None)
    one.result = Answer(200)
    one.senders.go_on()
    eventually(lambda: len(one.ended) == 20)


def test_the_dispatcher_is_woken_before_jobs_run_out_and_not_for_each(
    office: Callable[[int], Office], eventually: Eventually
) -> None:
    one = office(1)
    one.give(20)
    one.go.release(20)
    eventually(lambda: len(one.ended) == 20)
    assert 1 <= one.woken <= 5


def test_what_is_given_while_a_sender_leaves_is_taken(
    office: Callable[[int], Office], eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "IDLE", 0.0)
    two = office(2)
    for number in range(1, 301):
        two.go.release()
        two.give()
        eventually(lambda number=number: len(two.ended) == number or (two.senders.start_another() and False))
