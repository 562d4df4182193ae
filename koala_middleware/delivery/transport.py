"""The transport's contract: what takes a batch out of the process, and says how that went.

Each thread of a crew has its own. Must not know outboxes, retries or order: the worker decides by the answer.
"""

from __future__ import annotations

from typing import Protocol

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


def transport_for(config: KoalaConfig) -> Transport:
    """A transport of the kind that the settings name. Loads nothing of the other kinds."""
    from koala_middleware.delivery.http import HttpTransport  # noqa: PLC0415  (see above)

    return HttpTransport(config)
