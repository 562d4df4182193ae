"""Chains: a web process's delivery, a real broker behind a cable, a real worker or relay, and an endpoint that
remembers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.brokers import Broker
from support.cable import Cable
from support.crowd import Crowd
from support.waiting import until
from support.workers import Worker, celery_settings, celery_worker, relay

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.testing.collector import Collector

Half = tuple[list[str], dict[str, str]]  # a worker's command line and environment


@dataclass(frozen=True)
class Kind:
    """Attributes:
    broker: "rabbit" or "redis".
    promised: Nothing is lost and each one's order is kept, whatever dies.
    made: From the broker's port, the web process's settings and the worker.
    """

    broker: str
    promised: bool
    made: Callable[[int], tuple[dict[str, Any], Half]]


@dataclass
class Chain:
    kind: Kind
    half: Half
    folder: Path
    config: KoalaConfig
    broker: Broker
    cable: Cable
    delivery: Delivery
    worker: Worker
    endpoint: Collector

    def crowd(self, name: str, people: int = 20) -> Crowd:
        return Crowd(name, self.delivery, lambda: self.endpoint.batches, people)

    @contextmanager
    def another_worker(self) -> Iterator[Worker]:
        """For the same queues or streams."""
        with working(self.half, self.endpoint, self.folder / "another.log") as worker:
            yield worker

    def wait_for_all(self, crowd: Crowd) -> None:
        until(lambda: not crowd.missing, "all is delivered")

    def wait_for_some(self, crowd: Crowd) -> None:
        missing = crowd.missing
        until(lambda: crowd.missing < missing, "something is delivered")


def _celery_on_rabbitmq(port: int) -> tuple[dict[str, Any], Half]:
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    return celery_settings(url, "chain"), celery_worker(url, "chain")


def _celery_on_redis(port: int) -> tuple[dict[str, Any], Half]:
    url = f"redis://127.0.0.1:{port}/0"
    # What a dead worker had comes back after this long; an hour, looked at each 100 s, unless it is set.
    options = {"visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    return celery_settings(url, "chain", **options), celery_worker(url, "chain", **options)


def _redis_streams(port: int) -> tuple[dict[str, Any], Half]:
    url = f"redis://127.0.0.1:{port}/1"
    settings = {"transport": "redis", "broker": url, "queue": "chain", "shards": 2}
    return settings, relay("redis", url, "chain")


KINDS = {
    "Celery on RabbitMQ": Kind("rabbit", promised=True, made=_celery_on_rabbitmq),
    # kombu takes a message out of Redis before it notes that it has it: who dies in between has lost it.
    "Celery on Redis": Kind("redis", promised=False, made=_celery_on_redis),
    "Redis streams": Kind("redis", promised=True, made=_redis_streams),
}


@contextmanager
def working(half: Half, endpoint: Collector, log: Path) -> Iterator[Worker]:
    """A worker from the start to its end; what it said is shown where a test fails."""
    arguments, environment = half
    about_us = {
        "KOALA_PUBLIC_API_KEY": "pk_test",
        "KOALA_ENDPOINT": endpoint.url,
        "KOALA_REQUEST_TIMEOUT": "2",
    }
    worker = Worker(arguments, {**about_us, **environment}, log)
    worker.start()
    try:
        yield worker
    finally:
        worker.kill()
        sys.stdout.write(log.read_text("utf-8", "replace"))


@contextmanager
def delivering(config: KoalaConfig) -> Iterator[Delivery]:
    delivery = Delivery(config)
    try:
        yield delivery
    finally:
        delivery.close(0)


def web_config(folder: Path, **settings: Any) -> KoalaConfig:
    """The web process's; its outbox is on disk, as it is for those who must not lose anything."""
    given = {"public_api_key": "pk_test", "flush_interval": 0, "request_timeout": 2, **settings}
    return KoalaConfig(**{"outbox": folder / "outbox", **given})


@contextmanager
def chained(kind: Kind, broker: Broker, folder: Path) -> Iterator[Chain]:
    with Collector() as endpoint, Cable(broker.port) as cable:
        settings, half = kind.made(cable.port)
        config = web_config(folder, **settings)
        with (
            delivering(config) as delivery,
            working(half, endpoint, folder / "worker.log") as worker,
        ):
            yield Chain(kind, half, folder, config, broker, cable, delivery, worker, endpoint)
