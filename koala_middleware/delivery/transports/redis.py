"""Hands batches to Redis: appends them to streams, one for each shard of the people. Imports redis."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.broker_answers import ACCEPTED, failure_of
from koala_middleware.delivery.transports.broker_message import Message
from koala_middleware.delivery.transports.untraced import untraced
from koala_middleware.protocol.batches import Batch

KEY_FIELD, BODY_FIELD = b"public_api_key", b"body"


class RedisTransport:
    """One connection, for one thread at a time. Accepted means that Redis has it in the stream."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._client: Redis | None = None

    def send(self, batch: Batch, timeout: float) -> Answer:
        sent = False
        try:
            with untraced():
                client = self._client or self._open(timeout)
                sent = True
                message = Message.of(batch, self._config)
                stream = stream_name(self._config, message.shard(self._config.shards))
                client.xadd(stream, {KEY_FIELD: message.public_api_key, BODY_FIELD: message.body})
        except Exception as error:  # noqa: BLE001  (whatever it is, the batch is kept)
            self.close()
            return Answer(None, failure_of(error, sent=sent))
        return ACCEPTED

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _open(self, timeout: float) -> Redis:
        client = connect(self._config, timeout)
        client.ping()
        self._client = client
        return client


def connect(config: KoalaConfig, timeout: float) -> Redis:
    """Makes a client that tries each command once: retries are decided elsewhere."""
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        **(config.broker_options or {}),
    }
    return Redis.from_url(config.broker or "", **options)


def stream_name(config: KoalaConfig, shard: int) -> str:
    return f"{config.queue}:{shard}"
