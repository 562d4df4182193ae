"""Takes batches out of a Kafka topic, whose partitions a consumer group of relays shares. Imports confluent_kafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.relay.source import MAX_MESSAGES, BrokerAwayError, SourceMessage
from koala_middleware.delivery.transports.kafka import KEY_HEADER, client_options


class KafkaSource:
    """Reads the partitions that the consumer group assigns to this relay."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._consumer: Consumer | None = None
        self._paused = False
        self._revoked = False

    def receive(self, timeout: float) -> Sequence[SourceMessage]:
        consumer = self._consumer or self._join()
        try:
            if self._paused:
                consumer.resume(consumer.assignment())
            self._paused = self._revoked = False
            found = consumer.consume(MAX_MESSAGES, timeout)
        except KafkaException as error:
            raise _away(error) from None
        return [_source_message(message) for message in found if _is_message(message)]

    def heartbeat(self) -> bool:
        """Polls, which keeps us in the group; nothing is received while all partitions are paused."""
        consumer = self._consumer
        if consumer is None:
            return False
        try:
            consumer.pause(consumer.assignment())
            self._paused = True
            consumer.poll(0)
        except KafkaException as error:
            raise _away(error) from None
        return not self._revoked

    def settle(self, messages: Sequence[SourceMessage]) -> None:
        if self._consumer is None:
            return
        next_offsets: dict[tuple[str, int], int] = {}
        for message in messages:
            partition, offset = map(int, message.position.split(":"))
            next_offsets[message.stream, partition] = offset + 1
        offsets = [TopicPartition(topic, partition, at) for (topic, partition), at in next_offsets.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            raise _away(error) from None

    def release(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _join(self) -> Consumer:
        consumer = Consumer(
            {
                **client_options(self._config),
                "group.id": self._config.queue,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe([self._config.queue], on_revoke=self._on_revoke, on_lost=self._on_revoke)
        self._consumer = consumer
        return consumer

    def _on_revoke(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._revoked = True


def _is_message(message: KafkaMessage) -> bool:
    """False for an event of the broker. Raises BrokerAwayError for one that ends the consumer."""
    error = message.error()
    if error is not None and (error.fatal() or not error.retriable()):
        raise BrokerAwayError(error.name())
    return error is None


def _source_message(message: KafkaMessage) -> SourceMessage:
    headers: dict[str, Any] = dict(message.headers() or [])
    key: bytes = headers.get(KEY_HEADER) or b""
    position = f"{message.partition()}:{message.offset()}"
    return SourceMessage(
        message.topic() or "", position, key.decode("ascii", "replace"), message.value() or b""
    )


def _away(error: KafkaException) -> BrokerAwayError:
    return BrokerAwayError(error.args[0].name())
