"""Kafka: batches in a topic, keyed by person; a consumer group of relays shares its partitions.

Imports confluent_kafka: loaded by those who chose it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.relay.pump import AT_A_TIME, Taken
from koala_middleware.delivery.transports.answers import SILENT, Answer
from koala_middleware.delivery.transports.broker_answers import TAKEN, TOO_LARGE, BrokerAwayError
from koala_middleware.delivery.transports.broker_message import Message
from koala_middleware.protocol.batches import Batch

_KEY = "public_api_key"
_QUIET = 2  # syslog's "critical": an outage is said once, by us


class KafkaTransport:
    """A producer of its own, for one thread at a time. Taken means: every in-sync replica has it."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._producer: Producer | None = None

    def send(self, batch: Batch, timeout: float) -> Answer:
        try:
            answer = self._produce(Message.of(batch, self._config), timeout)
        except KafkaException as error:
            answer = _answer(error.args[0])
        except Exception as error:  # noqa: BLE001  (whatever it is, the batch stays)
            answer = Answer(None, type(error).__name__)
        if answer.status is None:
            self.close()
        return answer

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()  # what is left in it was answered for: it is tried again

    def _produce(self, message: Message, timeout: float) -> Answer:
        producer = self._producer = self._producer or Producer(self._options())
        reports: list[KafkaError | None] = []
        producer.produce(
            self._config.queue,
            value=message.body,
            key=message.person.encode("utf-8", "surrogatepass"),
            headers=[(_KEY, message.public_api_key.encode())],
            on_delivery=lambda error, _: reports.append(error),
        )
        deadline = time.monotonic() + timeout
        while not reports and (left := deadline - time.monotonic()) > 0:
            producer.poll(left)
        return _answer(reports[0]) if reports else Answer(None, SILENT)

    def _options(self) -> dict[str, Any]:
        return {
            **client_options(self._config),
            "enable.idempotence": True,
            "message.timeout.ms": int(self._config.request_timeout * 1000),
            "linger.ms": 0,
        }


class KafkaSource:
    """This relay's partitions, as the group shares them out."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._consumer: Consumer | None = None
        self._paused = False
        self._taken_away = False

    def take(self, seconds: float) -> Sequence[Taken]:
        consumer = self._consumer or self._joined()
        try:
            if self._paused:
                consumer.resume(consumer.assignment())
            self._paused = self._taken_away = False
            found = consumer.consume(AT_A_TIME, seconds)
        except KafkaException as error:
            raise _away(error) from None
        return [_taken(message) for message in found if _is_one(message)]

    def keep(self) -> bool:
        """Polls, so that the group goes on counting on us; nothing comes while all is paused."""
        consumer = self._consumer
        if consumer is None:
            return False
        try:
            consumer.pause(consumer.assignment())
            self._paused = True
            consumer.poll(0)
        except KafkaException as error:
            raise _away(error) from None
        return not self._taken_away

    def settle(self, messages: Sequence[Taken]) -> None:
        if self._consumer is None:
            return
        next_ones: dict[tuple[str, int], int] = {}
        for message in messages:
            partition, offset = map(int, message.place.split(":"))
            next_ones[message.stream, partition] = offset + 1
        offsets = [TopicPartition(topic, partition, at) for (topic, partition), at in next_ones.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            raise _away(error) from None

    def let_go(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _joined(self) -> Consumer:
        consumer = Consumer(
            {
                **client_options(self._config),
                "group.id": self._config.queue,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe([self._config.queue], on_revoke=self._lose, on_lost=self._lose)
        self._consumer = consumer
        return consumer

    def _lose(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._taken_away = True


def client_options(config: KoalaConfig) -> dict[str, Any]:
    return {"bootstrap.servers": config.broker, "log_level": _QUIET, **(config.broker_options or {})}


def _answer(error: KafkaError | None) -> Answer:
    if error is None:
        return TAKEN
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return TOO_LARGE
    return Answer(None, SILENT if error.code() == KafkaError._MSG_TIMED_OUT else error.name())


def _is_one(message: KafkaMessage) -> bool:
    """A message, and not news of the broker's. Raises BrokerAwayError for what ends the consumer."""
    error = message.error()
    if error is not None and (error.fatal() or not error.retriable()):
        raise BrokerAwayError(error.name())
    return error is None


def _taken(message: KafkaMessage) -> Taken:
    headers: dict[str, Any] = dict(message.headers() or [])
    key: bytes = headers.get(_KEY) or b""
    place = f"{message.partition()}:{message.offset()}"
    return Taken(message.topic() or "", place, key.decode("ascii", "replace"), message.value() or b"")


def _away(error: KafkaException) -> BrokerAwayError:
    return BrokerAwayError(error.args[0].name())
