"""The kit's collector and `drain`: what they wait for, and what they say when it does not come."""

from __future__ import annotations

import pytest

from koala_middleware import KoalaClient
from koala_middleware.testing import Answer, Collector, drain


def client_of(collector: Collector) -> KoalaClient:
    return KoalaClient(public_api_key="pk_test", endpoint=collector.url, flush_interval=0.01)


def test_a_wait_that_fails_says_what_came_instead() -> None:
    with Collector() as collector:
        client = client_of(collector)
        with client.person(email="ada@example.com") as koala:
            koala.track("Renewed", {"plan": "pro"})
        collector.wait_for(1)

        with pytest.raises(TimeoutError, match=r"batches received: 1\n  track 'Renewed' of ada@example.com"):
            collector.wait_for(2, timeout=0.05)


def test_answers_come_as_scripted_and_then_as_usual() -> None:
    with Collector() as collector:
        collector.answer(Answer(429, {"Retry-After": "0"}, {"error": "slow down"}), 500)
        with client_of(collector).person(email="ada@example.com") as koala:
            koala.track("Renewed")
        collector.wait_for(1)

        assert [request.status for request in collector.received] == [429, 500, 200]
        assert len({str(request.body) for request in collector.received}) == 1


def test_drain_says_what_still_waits_when_time_is_up() -> None:
    with Collector() as collector:
        collector.die()
        with client_of(collector).person(email="ada@example.com") as koala:
            koala.track("Renewed")

        with pytest.raises(
            TimeoutError, match=r"after 0\.2 s, entries still waiting for http://127\.0\.0\.1:\d+: 1"
        ):
            drain(0.2)


def test_no_collector_gets_a_port_that_an_earlier_one_had(monkeypatch: pytest.MonkeyPatch) -> None:
    had = set(range(0, 65536, 3))
    monkeypatch.setattr("koala_middleware.testing.ports._used_ports", had)

    for _ in range(10):  # a free port is one of every third by chance
        with Collector() as collector:
            assert int(collector.url.rpartition(":")[2]) % 3
