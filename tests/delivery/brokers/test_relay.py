"""The relay: what comes out of a broker is delivered by the rules that hold without one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.collecting import listening
from support.waiting import until

from koala_middleware.collector import create_app
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.outbox.inspection import keys, refused_entries
from koala_middleware.delivery.relay.relay import Relay
from koala_middleware.delivery.transports.broker_message import Message, NotABatchError, batch_from
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Account, Person
from koala_middleware.testing.collector import Answer, Collector

LONG = 20.0  # seconds that nothing here takes


@pytest.fixture
def endpoint() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def relay_with(endpoint: Collector) -> Iterator[Callable[..., Relay]]:
    made: list[Relay] = []

    def make(**settings: Any) -> Relay:
        made.append(Relay(KoalaConfig(**{"public_api_key": "pk_test", "endpoint": endpoint.url, **settings})))
        return made[-1]

    yield make
    for relay in made:
        relay.close()


def body(person: str, *message_ids: str) -> bytes:
    events = [{"type": "track", "event": "E", "message_id": message_id} for message_id in message_ids]
    return json.dumps({"profile_id": person, "events": events}).encode()


@pytest.mark.parametrize(
    "batch",
    [
        Batch(Person("ada", "ada@example.com"), (Entry("track", b'{"event":"E"}'),), "10.0.0.1"),
        Batch(Account("example.com"), (Entry("identify", b'{"traits":{"plan":"pro"}}'),)),
        Batch(Person(email="ünï@example.com"), (Entry("page", b'{"page":{"path":"/"}}'),)),
    ],
)
def test_a_batch_is_the_same_after_its_message_is_parsed(batch: Batch) -> None:
    message = Message.of(batch, KoalaConfig(public_api_key="pk_test"))
    assert batch_from(message.body) == batch


def test_messages_of_one_person_share_a_shard_and_people_are_spread() -> None:
    config = KoalaConfig(public_api_key="pk_test")
    shards = [Message.of(Batch(Person(f"person-{n}"), ()), config).shard(4) for n in range(100)]
    assert set(shards) == {0, 1, 2, 3}
    assert shards == [Message.of(Batch(Person(f"person-{n}"), ()), config).shard(4) for n in range(100)]


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"profile_id": "ada", "events": 5}', "\ufffd"])
def test_a_message_without_a_batch_is_an_error(text: str) -> None:
    with pytest.raises(NotABatchError):
        batch_from(text)


def test_messages_are_settled_once_the_endpoint_has_them(
    relay_with: Callable[..., Relay], endpoint: Collector
) -> None:
    relay = relay_with()
    endpoint.hold()
    relay.accept("pk_test", body("ada", "1", "2"))
    assert not relay.wait_settled(0.2)
    endpoint.release()
    assert relay.wait_settled(LONG)
    assert relay.stats()["pk_test"].delivered == 2


def test_messages_sent_in_bulk_are_settled_when_the_bulk_is_answered(
    relay_with: Callable[..., Relay], tmp_path: Path
) -> None:
    with listening(create_app(tmp_path / "koala.db")) as collector:
        relay = relay_with(endpoint=collector.url, concurrency=1)
        for number in range(200):  # while the first is on its way, the others become worth a bulk
            relay.accept("pk_test", body(f"person-{number}", str(number)))
        began = time.monotonic()
        assert relay.wait_settled(600)
        assert time.monotonic() - began < 300
        assert "/web/projects/pk_test/bulk" in {kept["path"] for kept in collector.requests()}


def test_each_key_has_its_own_path(relay_with: Callable[..., Relay], endpoint: Collector) -> None:
    relay = relay_with()
    relay.accept("pk_test", body("ada", "1"))
    relay.accept("pk_other", body("ada", "2"))
    assert relay.wait_settled(LONG)
    assert {request.path for request in endpoint.received} == {
        "/web/projects/pk_test/batch",
        "/web/projects/pk_other/batch",
    }


def test_messages_keep_their_order_through_an_outage(
    relay_with: Callable[..., Relay], endpoint: Collector
) -> None:
    relay = relay_with()
    endpoint.answer(503, Answer(429, {"Retry-After": "0"}), 500)
    for number in range(5):
        relay.accept("pk_test", body("ada", str(number)))
    assert relay.wait_settled(LONG)
    ids = [event["message_id"] for batch in endpoint.batches for event in batch["events"]]
    assert ids == ["0", "1", "2", "3", "4"]


def test_only_the_refused_entry_of_a_message_is_kept_aside(
    relay_with: Callable[..., Relay], endpoint: Collector, tmp_path: Path
) -> None:
    relay = relay_with(outbox=tmp_path)
    endpoint.answer(400, 400)  # all three, then the first alone
    relay.accept("pk_test", body("ada", "bad", "good", "fine"))
    assert relay.wait_settled(LONG)
    assert [event["message_id"] for batch in endpoint.batches for event in batch["events"]] == [
        "good",
        "fine",
    ]
    (directory,) = keys(tmp_path)
    assert [json.loads(kept.item.body)["message_id"] for kept in refused_entries(directory)] == ["bad"]
    assert not list(directory.glob("*.waiting"))  # the broker has what waits


def test_messages_that_are_handed_back_are_not_counted(
    relay_with: Callable[..., Relay], endpoint: Collector
) -> None:
    relay = relay_with()
    endpoint.answer(*[503] * 1000)
    relay.accept("pk_test", body("ada", "1"))
    until(lambda: endpoint.received, "it is tried")
    relay.hand_back()
    assert relay.wait_settled(0)
    assert relay.stats()["pk_test"].accepted == 0


def test_a_message_without_a_batch_is_counted_and_logged_once_without_its_content(
    relay_with: Callable[..., Relay], caplog: pytest.LogCaptureFixture
) -> None:
    relay = relay_with()
    relay.accept("pk_test", b'{"secret": "ada@example.com"}')
    relay.accept("no key at all", body("ada", "1"))
    relay.accept("pk_test", b"\xff")
    assert relay.wait_settled(0)
    assert relay.stats()["pk_test"].dropped == {"corrupt": 3}
    assert len([line for line in caplog.messages if "no batch" in line]) == 2  # one for each kind
    assert "ada@" not in caplog.text
