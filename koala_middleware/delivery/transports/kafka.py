"""Hands batches to Kafka: writes them to a topic, keyed by person. Imports confluent_kafka."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports import failures
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.broker_answers import ACCEPTED, TOO_LARGE
from koala_middleware.delivery.transports.broker_message import Message
from koala_middleware.protocol.batches import Batch

KEY_HEADER = "public_api_key"
_LOG_LEVEL = 2  # syslog's "critical": we log an outage ourselves, once


class KafkaTransport:
    """One producer, for one thread at a time. Accepted means that every in-sync replica has it."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._producer: Producer | None = None

    def send(self, batch: Batch, timeout: float) -> Answer:
        try:
            answer = self._produce(Message.of(batch, self._config), timeout)
        except KafkaException as error:
            answer = _answer(error.args[0])
        except Exception as error:  # noqa: BLE001  (whatever it is, the batch is kept)
            answer = Answer(None, type(error).__name__)
        if answer.status is None:
            self.close()
        return answer

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()  # what is left in it counts as failed and is sent again

    def _produce(self, message: Message, timeout: float) -> Answer:
        producer = self._producer = self._producer or Producer(self._options())
        reports: list[KafkaError | None] = []
        producer.produce(
            self._config.queue,
            value=message.body,
            key=message.subject_key.encode("utf-8", "surrogatepass"),
            headers=[(KEY_HEADER, message.public_api_key.encode())],
            on_delivery=lambda error, _: reports.append(error),
        )
        deadline = time.monotonic() + timeout
        while not reports and (left := deadline - time.monotonic()) > 0:
            producer.poll(left)
        return _answer(reports[0]) if reports else Answer(None, failures.NO_ANSWER)

    def _options(self) -> dict[str, Any]:
        return {
            **client_options(self._config),
            "enable.idempotence": True,
            "message.timeout.ms": int(self._config.request_timeout * 1000),
            "linger.ms": 0,
        }


def client_options(config: KoalaConfig) -> dict[str, Any]:
    return {"bootstrap.servers": config.broker, "log_level": _LOG_LEVEL, **(config.broker_options or {})}


def _answer(error: KafkaError | None) -> Answer:
    if error is None:
        return ACCEPTED
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return TOO_LARGE
    return Answer(None, failures.NO_ANSWER if error.code() == KafkaError._MSG_TIMED_OUT else error.name())
