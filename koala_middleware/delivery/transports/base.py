"""The transport's contract: what takes a batch out of the process, and says how that went.

Each thread of a crew has its own. Must not know outboxes, retries or order: the worker decides by the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, runtime_checkable

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports import connection
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.protocol.batches import Batch

TO_THE_ENDPOINT = frozenset({"http", "curl"})  # the others go to a broker


class Transport(Protocol):
    def send(self, batch: Batch, timeout: float) -> Answer:
        """The answer to this batch. Never raises.

        Args:
            timeout: Seconds that each step may take.
        """
        ...

    def close(self) -> None:
        """Lets go of connections. A later `send` makes new ones."""
        ...


@runtime_checkable
class BulkTransport(Transport, Protocol):
    """One whose endpoint may take many batches at once."""

    def takes_bulk(self, timeout: float) -> bool:
        """Whether it does, as of now. Never raises."""
        ...

    def send_bulk(self, batches: Sequence[Batch], timeout: float) -> Answer | list[Answer]:
        """An answer for each batch, in order; or one, where the request as a whole was answered, or not at all.
        Never raises."""
        ...


def transport_for(config: KoalaConfig) -> Transport:
    """A transport of the kind that the settings name. Loads nothing of the other kinds."""
    match config.transport:
        case "celery":
            from koala_middleware.delivery.transports.celery import CeleryTransport  # noqa: PLC0415  (see above)

            return CeleryTransport(config)
        case "kafka":
            from koala_middleware.delivery.transports.kafka import KafkaTransport  # noqa: PLC0415

            return KafkaTransport(config)
        case "redis":
            from koala_middleware.delivery.transports.redis import RedisTransport  # noqa: PLC0415

            return RedisTransport(config)
        case "http" | "curl":
            from koala_middleware.delivery.transports.http import HttpTransport  # noqa: PLC0415

            return HttpTransport(config, connection.connector(config.transport))


def prepare(config: KoalaConfig) -> None:
    """Loads what the transport stands on while the app starts, so that no request has to share the time."""
    if config.transport in TO_THE_ENDPOINT:
        from koala_middleware.delivery.transports import http  # noqa: F401, PLC0415

        connection.prepare(config.transport)
    else:
        import_module(f"koala_middleware.delivery.transports.{config.transport}")


def destination(config: KoalaConfig) -> str:
    """Where a transport of these settings takes batches, as the log says it: never with a password."""
    return config.endpoint if config.transport in TO_THE_ENDPOINT else f"{config.transport}:{config.queue}"
