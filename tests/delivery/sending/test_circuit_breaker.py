"""When a request may go to an endpoint that fails, and how long it is waited between tries."""

from __future__ import annotations

from itertools import pairwise

import pytest

from koala_middleware.delivery.schedule import backoff
from koala_middleware.delivery.sending.circuit_breaker import CircuitBreaker
from koala_middleware.delivery.transports.answers import Answer, Verdict

NEVER = float("-inf")


def failed(breaker: CircuitBreaker, now: float, *, probe: bool = False, answer: Answer | None = None) -> None:
    breaker.answered(answer or Answer(500), Verdict.RETRY, now, probe=probe)


def outage(seconds: float, *, verdict: Verdict = Verdict.RETRY) -> list[float]:
    """When it lets probes through while each of them fails."""
    breaker, now, tries = CircuitBreaker(), 0.0, [0.0]
    breaker.answered(Answer(500), verdict, now, probe=False)
    while (now := breaker.now.until) < seconds:
        assert breaker.wait(now, hurried_at=NEVER) == 0.0
        assert breaker.let_through()
        tries.append(now)
        breaker.answered(Answer(500), verdict, now, probe=True)
    return tries


@pytest.mark.parametrize("_seed", range(20))
def test_in_the_first_minute_the_next_try_is_never_more_than_two_seconds_away(_seed: int) -> None:
    tries = outage(60)
    assert max(later - earlier for earlier, later in pairwise(tries)) <= 2.0


@pytest.mark.parametrize("_seed", range(20))
def test_ten_seconds_of_failures_see_at_most_twelve_tries(_seed: int) -> None:
    assert len(outage(10)) <= 12


def test_in_a_long_outage_the_gaps_grow_to_thirty_seconds_and_no_further() -> None:
    gaps = [later - earlier for earlier, later in pairwise(outage(4 * 3600))]
    assert min(gaps[-20:]) >= 15
    assert max(gaps) <= 30.0


def test_an_endpoint_that_holds_everything_is_asked_again_soon_and_then_each_five_minutes() -> None:
    """Five seconds of 403 may be a deployment that is under way."""
    gaps = [later - earlier for earlier, later in pairwise(outage(7200, verdict=Verdict.HOLD))]
    assert gaps[0] <= backoff.HELD_GAP
    assert sum(gaps[:3]) <= 7
    assert 240 <= gaps[-1] <= 300


def test_one_probe_goes_at_a_time() -> None:
    breaker = CircuitBreaker()
    failed(breaker, 0.0, answer=Answer(None, "connection refused"))
    assert breaker.wait(0.01, hurried_at=NEVER) > 0
    assert breaker.wait(5.0, hurried_at=NEVER) == 0.0
    assert breaker.let_through()
    assert breaker.wait(5.0, hurried_at=NEVER) > 0, "a second went while the first was on its way"
    assert breaker.answered(Answer(200), Verdict.TAKEN, 5.1, probe=True) == "recovered"
    assert breaker.wait(5.2, hurried_at=NEVER) == 0.0
    assert not breaker.let_through()


def test_retry_after_is_waited_out_even_by_somebody_in_a_hurry() -> None:
    breaker = CircuitBreaker()
    failed(breaker, 0.0, answer=Answer(429, retry_after=3.0))
    assert breaker.wait(1.0, hurried_at=0.9) >= 2.0
    assert breaker.wait(2.99, hurried_at=NEVER) > 0
    assert breaker.wait(3.5, hurried_at=NEVER) == 0.0


def test_a_retry_after_that_is_past_leaves_the_pauses_as_they_are() -> None:
    breaker, now, tries = CircuitBreaker(), 0.0, 0
    failed(breaker, now, answer=Answer(503, retry_after=0.0))
    while (now := breaker.now.until) < 60.0:
        breaker.let_through()
        failed(breaker, now, probe=True, answer=Answer(503, retry_after=0.0))
        tries += 1
    assert tries < 60


def test_a_flush_gets_one_probe_at_once_and_not_a_second() -> None:
    breaker = CircuitBreaker()
    failed(breaker, 10.0)
    failed(breaker, 10.0)
    assert breaker.wait(10.01, hurried_at=10.005) == 0.0
    breaker.let_through()
    failed(breaker, 10.02, probe=True)
    assert breaker.wait(10.03, hurried_at=10.005) > 0


def test_failures_of_requests_from_before_it_opened_do_not_lengthen_the_outage() -> None:
    breaker = CircuitBreaker()
    failed(breaker, 0.0)
    until = breaker.now.until
    for _ in range(10):
        failed(breaker, 0.01)
    assert breaker.now.until == until


def test_a_flush_has_nothing_to_wait_for_once_it_stays_open_beyond_the_deadline() -> None:
    breaker = CircuitBreaker()
    failed(breaker, 0.0, answer=Answer(429, retry_after=60.0))
    assert breaker.open_beyond(10.0, since=0.5)
    assert not breaker.open_beyond(100.0, since=0.5)
