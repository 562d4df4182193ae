"""The transport's contract: what takes a batch out of the process, and says how that went.

Each thread of a crew has its own. Must not know outboxes, retries or order: the worker decides by the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from koala_middleware.config import KoalaConfig
from koala_middleware.delivery.answers import Answer
from koala_middleware.wire import Batch


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
    from koala_middleware.delivery.http import HttpTransport  # noqa: PLC0415  (see above)

    return HttpTransport(config)
