"""Takes batches out of Redis streams.

A stream holds what waits; what is delivered is deleted from it. One relay at a time reads a stream, by a lease: a
consumer group would hand the batches of one person to several relays. Imports redis.
"""

from __future__ import annotations

import math
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis
from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.relay.source import MAX_MESSAGES, BrokerAwayError, SourceMessage
from koala_middleware.delivery.transports.broker_answers import failure_of
from koala_middleware.delivery.transports.redis import BODY_FIELD, KEY_FIELD, connect, stream_name

LEASE = 6.0  # seconds; after so long without a heartbeat another relay reads the streams
_TIMEOUT = 5.0  # seconds without an answer before a relay connects anew; longer than any read waits
_FROM_THE_START = "0"


class RedisSource:
    """Reads the streams that this relay has leased: its share of them among all living relays."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._name = f"{socket.gethostname()}-{uuid.uuid4()}"
        self._client: Redis | None = None
        self._leases: dict[str, Lock] = {}
        self._read_to: dict[str, str] = {}
        self._renewed = -math.inf

    def receive(self, timeout: float) -> Sequence[SourceMessage]:
        with _translated_errors():
            self._balance()
            if not self._leases:
                time.sleep(timeout)
                return []
            after: dict[Any, Any] = {
                stream: self._read_to.get(stream, _FROM_THE_START) for stream in self._leases
            }
            each = max(MAX_MESSAGES // len(after), 1)
            found: Any = self._redis.xread(after, count=each, block=max(int(timeout * 1000), 1))
            return list(self._messages(found or []))

    def heartbeat(self) -> bool:
        with _translated_errors():
            return self._renew()

    def settle(self, messages: Sequence[SourceMessage]) -> None:
        positions: dict[str, list[str]] = {}
        for message in messages:
            positions.setdefault(message.stream, []).append(message.position)
        with _translated_errors(), self._redis.pipeline(transaction=False) as together:
            for stream, done in positions.items():
                together.xdel(stream, *done)
            together.execute()

    def release(self) -> None:
        with suppress(RedisError, OSError):  # leases also expire by themselves
            for stream in list(self._leases):
                self._give_up(stream)
            if self._client is not None:
                self._client.zrem(self._relays, self._name)
        client, self._client = self._client, None
        self._leases, self._read_to, self._renewed = {}, {}, -math.inf
        if client is not None:
            client.close()

    @property
    def _redis(self) -> Redis:
        if self._client is None:
            self._client = connect(self._config, _TIMEOUT)
        return self._client

    @property
    def _relays(self) -> str:
        return f"{self._config.queue}:relays"

    def _messages(self, found: Any) -> Iterator[SourceMessage]:
        for stream, entries in found:
            for entry_id, fields in entries:
                name, at = stream.decode(), entry_id.decode()
                self._read_to[name] = at
                yield SourceMessage(
                    name,
                    at,
                    fields.get(KEY_FIELD, b"").decode("ascii", "replace"),
                    fields.get(BODY_FIELD, b""),
                )

    def _balance(self) -> None:
        """Renews our leases, gives up those above our share, and leases streams that nobody has."""
        if time.monotonic() - self._renewed < LEASE / 3:
            return
        self._renew()
        fair = math.ceil(self._config.shards / self._relays_alive())
        for stream in list(self._leases)[fair:]:
            self._give_up(stream)
        for shard in range(self._config.shards):
            stream = stream_name(self._config, shard)
            if stream not in self._leases and len(self._leases) < fair:
                lease = self._redis.lock(f"{stream}:lease", timeout=LEASE, blocking=False, thread_local=False)
                if lease.acquire():
                    self._leases[stream] = lease

    def _relays_alive(self) -> int:
        seconds, _ = self._redis.time()  # by the server's clock: hosts' clocks differ
        with self._redis.pipeline() as together:
            together.zadd(self._relays, {self._name: seconds})
            together.zremrangebyscore(self._relays, 0, seconds - LEASE)
            together.zcard(self._relays)
            return max(int(together.execute()[-1]), 1)

    def _renew(self) -> bool:
        """Renews our leases. Returns whether all of them are still ours."""
        before = len(self._leases)
        for stream, lease in list(self._leases.items()):
            try:
                lease.reacquire()
            except LockError:
                self._forget(stream)
        self._renewed = time.monotonic()
        return len(self._leases) == before

    def _give_up(self, stream: str) -> None:
        with suppress(LockError):  # it has expired
            self._forget(stream).release()

    def _forget(self, stream: str) -> Lock:
        self._read_to.pop(stream, None)
        return self._leases.pop(stream)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raises BrokerAwayError for the client's errors."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise BrokerAwayError(failure_of(error, sent=False)) from None
