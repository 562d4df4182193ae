"""Jobs: the requests that senders post. A sender posts one and returns the answer.

Must not know what an answer means, or what waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from koala_middleware.delivery.schedule.items import Parcel
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.base import BulkTransport, Transport
from koala_middleware.protocol.batches import Batch

ASK_TIMEOUT = 3.0  # seconds; an endpoint that takes longer to say what it offers gets plain requests


@dataclass(slots=True, eq=False)
class Job:
    """One request.

    Attributes:
        parcels: The parcels it carries. Senders must not touch them.
        batches: The parcels as batches. Several only in a bulk request.
        probe: It tests whether the endpoint is back.
        ask: Ask the endpoint first whether it takes bulk requests.
        began: When it was handed to a sender, monotonic.
    """

    parcels: list[Parcel]
    batches: Sequence[Batch]
    probe: bool = False
    ask: bool = False
    began: float = 0.0
    is_bulk: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_bulk = len(self.parcels) > 1


@dataclass(frozen=True, slots=True)
class NoBulk:
    """The endpoint does not take bulk requests. Nothing was sent."""


Result = Answer | list[Answer] | NoBulk


def post(job: Job, transport: Transport, timeout: float) -> Result:
    """Post a job. Returns one answer, or one for each batch of a bulk request. Never raises."""
    try:
        if not job.is_bulk:
            return transport.send(job.batches[0], timeout)
        if not isinstance(transport, BulkTransport):
            return NoBulk()
        if job.ask and not transport.takes_bulk(min(timeout, ASK_TIMEOUT)):
            return NoBulk()
        return transport.send_bulk(job.batches, timeout)
    except Exception as error:  # noqa: BLE001  (a bug here must not end delivery: the entries stay)
        return Answer(None, type(error).__name__)
