"""A bucket of tokens for each sender."""

from __future__ import annotations

from koala_middleware.collector.access.rate_limits import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_then_the_average_holds() -> None:
    clock = Clock()
    rate = RateLimit(1.0, burst=3, clock=clock)
    assert [rate.allows("a") for _ in range(5)] == [True, True, True, False, False]
    clock.now = 2.0
    assert [rate.allows("a") for _ in range(3)] == [True, True, False]


def test_one_sender_does_not_use_up_anothers() -> None:
    rate = RateLimit(1.0, burst=1, clock=Clock())
    assert [rate.allows("a"), rate.allows("a"), rate.allows("b")] == [True, False, True]


def test_without_a_rate_everything_passes() -> None:
    rate = RateLimit(None)
    assert all(rate.allows("a") for _ in range(1_000))
