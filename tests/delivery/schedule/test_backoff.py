"""How long delivery waits between tries, and what the gate lets through meanwhile."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from koala_middleware.delivery.sending.circuit_breaker import Gate
from koala_middleware.delivery.transports.answers import Answer, Verdict


def outage(seconds: float) -> list[float]:
    """When a gate lets tries through while each of them fails."""
    gate, now, tries = Gate(), 0.0, [0.0]
    gate.answered(Answer(500), Verdict.RETRY, now)
    while (now := gate.state.until) < seconds:
        assert gate.enter(now) == 0.0
        tries.append(now)
        gate.answered(Answer(500), Verdict.RETRY, now)
    return tries


@pytest.mark.parametrize("seed", range(20))
def test_in_the_first_minute_the_next_try_is_never_more_than_two_seconds_away(seed: int) -> None:
    random.seed(seed)
    tries = outage(60)
    assert max(later - earlier for earlier, later in pairwise(tries)) <= 2.0


@pytest.mark.parametrize("seed", range(20))
def test_ten_seconds_of_failures_see_at_most_twelve_tries(seed: int) -> None:
    random.seed(seed)
    assert len(outage(10)) <= 12


def test_in_a_long_outage_the_gaps_grow_to_thirty_seconds_and_no_further() -> None:
    gaps = [later - earlier for earlier, later in pairwise(outage(4 * 3600))]
    assert min(gaps[-20:]) >= 15
    assert max(gaps) <= 30.0


def test_a_closed_gate_lets_one_probe_through_at_a_time() -> None:
    gate = Gate()
    gate.answered(Answer(None, "connection refused"), Verdict.RETRY, 0.0)
    assert gate.enter(0.01) > 0
    assert gate.enter(5.0) == 0.0
    assert gate.enter(5.0) > 0, "a second request went out while the first probe was on its way"
    assert gate.answered(Answer(200), Verdict.TAKEN, 5.1) == "recovered"
    assert gate.enter(5.2) == gate.enter(5.2) == 0.0


def test_retry_after_is_waited_out_even_by_somebody_in_a_hurry() -> None:
    gate = Gate()
    gate.answered(Answer(429, retry_after=3.0), Verdict.RETRY, 0.0)
    assert gate.enter(1.0, hurried_at=0.9) >= 2.0
    assert gate.enter(2.99) > 0
    assert gate.enter(3.5) == 0.0


def test_a_flush_gets_one_try_at_once_and_not_a_second() -> None:
    gate = Gate()
    gate.answered(Answer(500), Verdict.RETRY, 10.0)
    gate.answered(Answer(500), Verdict.RETRY, 10.0)
    assert gate.enter(10.01, hurried_at=10.005) == 0.0
    gate.answered(Answer(500), Verdict.RETRY, 10.02)
    assert gate.enter(10.03, hurried_at=10.005) > 0


def test_a_held_gate_is_probed_each_five_minutes() -> None:
    gate = Gate()
    assert gate.answered(Answer(401), Verdict.HOLD, 0.0) == "held"
    assert 240 <= gate.enter(0.0) <= 300


def test_failures_of_requests_sent_before_the_gate_closed_do_not_lengthen_the_outage() -> None:
    gate = Gate()
    gate.answered(Answer(500), Verdict.RETRY, 0.0)
    until = gate.state.until
    for _ in range(10):
        gate.answered(Answer(500), Verdict.RETRY, 0.01)
    assert gate.state.until == until
