"""Jobs: what a sender is given, and how it is posted. A sender knows no more than "post this, return the answer".

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
        parcels: What it takes; the dispatcher's, a sender leaves them alone.
        batches: The same as what goes over the wire. Several only in a bulk.
        probe: It is to show whether the endpoint is back.
        ask: The endpoint is asked first whether it takes bulk.
        began: When it was given out, on the monotonic clock.
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
    """The endpoint does not take bulk; nothing was sent."""


Result = Answer | list[Answer] | NoBulk


def post(job: Job, transport: Transport, timeout: float) -> Result:
    """The answer; for a bulk one for each batch, or one for the whole. Never raises."""
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
