"""The contract of a transport: it sends a batch out of the process and returns the answer.

Each delivery thread has a transport of its own. Must not know outboxes, retries or order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.protocol.batches import Batch


class Transport(Protocol):
    def send(self, batch: Batch, timeout: float) -> Answer:
        """Sends one batch and returns the answer. Never raises.

        Args:
            timeout: Seconds that everything may take, from connecting to the end of the answer. A large body gets
                longer: a second for each 32 kB.
        """
        ...

    def close(self) -> None:
        """Closes connections. A later `send` opens new ones."""
        ...


@runtime_checkable
class BulkTransport(Transport, Protocol):
    """A transport whose endpoint may take many batches in one request."""

    def takes_bulk(self, timeout: float) -> bool:
        """Asks the endpoint whether it takes bulk requests now. Never raises."""
        ...

    def send_bulk(self, batches: Sequence[Batch], timeout: float) -> Answer | list[Answer]:
        """Sends many batches in one request. Never raises.

        Returns:
            An answer for each batch, in order; or one answer where the endpoint answered the request as a whole,
            or not at all.
        """
        ...
