"""Relays at Redis's streams: who reads which, and who goes on when one of them ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.brokers import Broker
from support.waiting import until

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.relay import redis_source
from koala_middleware.delivery.relay.redis_source import RedisSource
from koala_middleware.delivery.transports.redis import RedisTransport
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person

LEASE = 1.5  # seconds; long enough for a slow machine to renew in time
PEOPLE = 30


@pytest.fixture
def config(redis: Broker, request: pytest.FixtureRequest) -> KoalaConfig:
    return KoalaConfig(
        public_api_key="pk_test",
        transport="redis",
        broker=f"redis://127.0.0.1:{redis.port}/2",
        queue=request.node.name,
        shards=2,
    )


@pytest.fixture
def source(config: KoalaConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], RedisSource]]:
    monkeypatch.setattr(redis_source, "LEASE", LEASE)
    made: list[RedisSource] = []

    def make() -> RedisSource:
        made.append(RedisSource(config))
        return made[-1]

    yield make
    for one in made:
        one.release()


@pytest.fixture
def crowd(config: KoalaConfig) -> Iterator[Callable[[], None]]:
    """Each of some people says one thing."""
    transport = RedisTransport(config)

    def speak() -> None:
        for number in range(PEOPLE):
            batch = Batch(Person(f"person-{number}"), (Entry("track", b'{"event":"E"}'),))
            assert transport.send(batch, 5).status == 202

    yield speak
    transport.close()


def read(one: RedisSource) -> list[tuple[str, str]]:
    """Stream and place of what comes next."""
    return [(message.stream, message.position) for message in one.receive(0.05)]


def test_a_single_relay_reads_every_stream(
    source: Callable[[], RedisSource], crowd: Callable[[], None]
) -> None:
    crowd()
    alone = source()
    assert len(read(alone)) == PEOPLE
    assert read(alone) == []  # not twice


def test_two_relays_share_the_streams(source: Callable[[], RedisSource], crowd: Callable[[], None]) -> None:
    first, second = source(), source()
    seen: dict[RedisSource, set[str]] = {first: set(), second: set()}

    def each_has_one() -> bool:
        crowd()
        for one in (first, second):
            seen[one] = {stream for stream, _ in read(one)}
        return len(seen[first]) == len(seen[second]) == 1

    until(each_has_one, "each has one of the two streams")
    assert seen[first] != seen[second]


def test_unsettled_messages_are_read_again_by_the_next_relay(
    source: Callable[[], RedisSource], crowd: Callable[[], None]
) -> None:
    crowd()
    first, second = source(), source()
    messages = first.receive(0.05)
    first.settle(messages[:10])
    first.release()
    assert read(second) == [(one.stream, one.position) for one in messages[10:]]


def test_a_relay_without_a_heartbeat_loses_its_streams_and_learns_of_it(
    source: Callable[[], RedisSource], crowd: Callable[[], None]
) -> None:
    crowd()
    asleep, awake = source(), source()
    assert len(read(asleep)) == PEOPLE
    assert asleep.heartbeat()
    found: list[tuple[str, str]] = []

    def has_all() -> bool:
        found.extend(read(awake))
        return len(found) == PEOPLE

    until(has_all, "the other one has taken over")
    assert not asleep.heartbeat()
