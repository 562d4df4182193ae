"""Batches through Kafka: our producer and relay against the cluster that librdkafka brings along for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from support.chains import delivering, web_config, working
from support.crowd import Crowd
from support.waiting import until
from support.workers import relay

from koala_middleware.delivery.transports.kafka import KafkaTransport
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person
from koala_middleware.testing.collector import Collector

QUICK = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}  # a dead relay is noticed sooner


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Three brokers inside of one client; others connect to them as to any."""
    mock = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "", "log_level": 0})
    yield ",".join(f"{broker.host}:{broker.port}" for broker in mock.list_topics(timeout=20).brokers.values())
    mock.purge()


def test_a_killed_relay_loses_nothing_and_each_ones_order_is_kept(cluster: str, tmp_path: Path) -> None:
    config = web_config(tmp_path, transport="kafka", broker=cluster, queue="visits", request_timeout=5)
    command, environment = relay("kafka", cluster, "visits")
    environment["KOALA_BROKER_OPTIONS"] = json.dumps(QUICK)
    with (
        Collector() as endpoint,
        delivering(config) as delivery,
        working((command, environment), endpoint, tmp_path / "relay.log") as worker,
    ):
        crowd = Crowd("kafka", delivery, lambda: endpoint.batches)
        crowd.speaks(3)
        until(lambda: crowd.missing < crowd.said, "something is delivered")
        worker.kill()
        crowd.speaks(3)
        worker.start()
        crowd.speaks(3)
        until(lambda: not crowd.missing, "all is delivered")
        assert not crowd.out_of_order
        assert delivery.flush(20).complete
        assert delivery.stats().delivered == crowd.said


def test_a_topic_that_takes_no_large_message_gets_the_batch_in_parts(cluster: str) -> None:
    limit = {"message.max.bytes": 1000}
    config = web_config(
        Path(), transport="kafka", broker=cluster, queue="small", broker_options=limit, outbox=None
    )
    entry = Entry("track", b'{"event": "%b"}' % (b"x" * 2000))
    transport = KafkaTransport(config)
    assert transport.send(Batch(Person("ada"), (entry,)), 5).status == 413
    transport.close()
