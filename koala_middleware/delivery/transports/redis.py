"""Redis: batches in streams, one for each shard of the people.

What is in a stream waits; what is delivered is deleted from it. One relay at a time reads a stream, by a
lease: a consumer group would hand one person's batches to several. Imports redis: loaded by those who chose
it.
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
from redis.backoff import NoBackoff
from redis.exceptions import LockError, RedisError
from redis.lock import Lock
from redis.retry import Retry

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.relay.pump import AT_A_TIME, Taken
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.broker_answers import TAKEN, BrokerAwayError, kind_of
from koala_middleware.delivery.transports.broker_message import Message
from koala_middleware.delivery.transports.untraced import uninstrumented
from koala_middleware.protocol.batches import Batch

LEASE = 6.0  # seconds; a relay that shows no sign of life for so long has its streams read by another
_SILENCE = 5.0  # seconds without an answer after which a relay connects anew; longer than it lets Redis wait
_KEY, _BODY = b"public_api_key", b"body"
_FROM_THE_START = "0"


class RedisTransport:
    """One connection, for one thread at a time. Taken means: Redis has it in the stream."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._client: Redis | None = None

    def send(self, batch: Batch, timeout: float) -> Answer:
        sent = False
        try:
            with uninstrumented():
                client = self._client or self._connected(timeout)
                sent = True
                message = Message.of(batch, self._config)
                stream = stream_name(self._config, message.shard(self._config.shards))
                client.xadd(stream, {_KEY: message.public_api_key, _BODY: message.body})
        except Exception as error:  # noqa: BLE001  (whatever it is, the batch stays)
            self.close()
            return Answer(None, kind_of(error, sent=sent))
        return TAKEN

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self, timeout: float) -> Redis:
        client = connected(self._config, timeout)
        client.ping()
        self._client = client
        return client


class RedisSource:
    """The streams that this relay has leased: its share of all, as many relays as there are."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._name = f"{socket.gethostname()}-{uuid.uuid4()}"
        self._client: Redis | None = None
        self._leases: dict[str, Lock] = {}
        self._read_to: dict[str, str] = {}
        self._renewed = -math.inf

    def take(self, seconds: float) -> Sequence[Taken]:
        with _told_apart():
            self._share()
            if not self._leases:
                time.sleep(seconds)
                return []
            after: dict[Any, Any] = {
                stream: self._read_to.get(stream, _FROM_THE_START) for stream in self._leases
            }
            each = max(AT_A_TIME // len(after), 1)
            found: Any = self._redis.xread(after, count=each, block=max(int(seconds * 1000), 1))
            return list(self._noted(found or []))

    def keep(self) -> bool:
        with _told_apart():
            return self._renew()

    def settle(self, messages: Sequence[Taken]) -> None:
        places: dict[str, list[str]] = {}
        for message in messages:
            places.setdefault(message.stream, []).append(message.place)
        with _told_apart(), self._redis.pipeline(transaction=False) as together:
            for stream, done in places.items():
                together.xdel(stream, *done)
            together.execute()

    def let_go(self) -> None:
        with suppress(RedisError, OSError):  # leases end by themselves as well
            for stream in list(self._leases):
                self._release(stream)
            if self._client is not None:
                self._client.zrem(self._relays, self._name)
        client, self._client = self._client, None
        self._leases, self._read_to, self._renewed = {}, {}, -math.inf
        if client is not None:
            client.close()

    @property
    def _redis(self) -> Redis:
        if self._client is None:
            self._client = connected(self._config, _SILENCE)
        return self._client

    @property
    def _relays(self) -> str:
        return f"{self._config.queue}:relays"

    def _noted(self, found: Any) -> Iterator[Taken]:
        for stream, entries in found:
            for place, fields in entries:
                name, at = stream.decode(), place.decode()
                self._read_to[name] = at
                yield Taken(
                    name, at, fields.get(_KEY, b"").decode("ascii", "replace"), fields.get(_BODY, b"")
                )

    def _share(self) -> None:
        """Renews our leases, gives up what is more than our share, and takes what nobody has."""
        if time.monotonic() - self._renewed < LEASE / 3:
            return
        self._renew()
        fair = math.ceil(self._config.shards / self._relays_alive())
        for stream in list(self._leases)[fair:]:
            self._release(stream)
        for shard in range(self._config.shards):
            stream = stream_name(self._config, shard)
            if stream not in self._leases and len(self._leases) < fair:
                lease = self._redis.lock(f"{stream}:lease", timeout=LEASE, blocking=False, thread_local=False)
                if lease.acquire():
                    self._leases[stream] = lease

    def _relays_alive(self) -> int:
        seconds, _ = self._redis.time()  # the server's: hosts' clocks differ
        with self._redis.pipeline() as together:
            together.zadd(self._relays, {self._name: seconds})
            together.zremrangebyscore(self._relays, 0, seconds - LEASE)
            together.zcard(self._relays)
            return max(int(together.execute()[-1]), 1)

    def _renew(self) -> bool:
        """Whether all of them are still ours."""
        before = len(self._leases)
        for stream, lease in list(self._leases.items()):
            try:
                lease.reacquire()
            except LockError:
                self._forget(stream)
        self._renewed = time.monotonic()
        return len(self._leases) == before

    def _release(self, stream: str) -> None:
        with suppress(LockError):  # it had ended
            self._forget(stream).release()

    def _forget(self, stream: str) -> Lock:
        self._read_to.pop(stream, None)
        return self._leases.pop(stream)


def connected(config: KoalaConfig, timeout: float) -> Redis:
    """A client that tries each command once: who retries, and when, is decided elsewhere."""
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        **(config.broker_options or {}),
    }
    return Redis.from_url(config.broker or "", **options)


def stream_name(config: KoalaConfig, shard: int) -> str:
    return f"{config.queue}:{shard}"


@contextmanager
def _told_apart() -> Iterator[None]:
    """The client's errors in our words."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise BrokerAwayError(kind_of(error, sent=False)) from None
