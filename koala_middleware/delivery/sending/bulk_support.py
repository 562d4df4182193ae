"""Whether many people's batches may go in one request: only where the endpoint says so, and as long as it does.

Nobody is asked before that matters, so a site with few visitors never asks. Must not know parcels, nor how a bulk
is settled: the worker does.
"""

from __future__ import annotations

import math
import threading
import time

from koala_middleware.delivery.transports.answers import Answer, Verdict, verdict
from koala_middleware.delivery.transports.base import BulkTransport, Transport
from koala_middleware.protocol.limits import BULK_LINES

# Seconds; others deliver meanwhile. An endpoint that takes longer to say what it offers gets plain requests.
ASK_TIMEOUT = 3.0
ASK_AGAIN = 300.0  # seconds after a no
SUSPICIOUS = 2  # outages in a row that each began with a bulk
_NOT_IMPLEMENTED = 501

# What a bulk's answers say of the endpoint, best first: it is there if it has judged a single one of them.
_BEST_FIRST = (Verdict.REFUSED, Verdict.TOO_LARGE, Verdict.RETRY, Verdict.HOLD)


class BulkOffer:
    """What the endpoint has said of bulk. One for all threads of a sender; no thread waits for another."""

    def __init__(self) -> None:
        self._offered: bool | None = None  # None: not asked yet
        self._ask_again_at = math.inf
        self._failures = 0
        self._asking = threading.Lock()

    def most(self) -> int:
        """How many parcels are worth claiming for one request."""
        if self._offered is False and time.monotonic() >= self._ask_again_at:
            self._offered = None
        return 1 if self._offered is False or self._asking.locked() else BULK_LINES

    def stands(self, transport: Transport, timeout: float) -> BulkTransport | None:
        """The transport, if it may be given a bulk now. Asks the endpoint, where nobody has."""
        if not isinstance(transport, BulkTransport):
            self.withdraw()
            return None
        if self._offered is None and self._asking.acquire(blocking=False):
            try:
                self._offered = transport.takes_bulk(min(timeout, ASK_TIMEOUT))
                self._ask_again_at = time.monotonic() + ASK_AGAIN
            finally:
                self._asking.release()
        return transport if self._offered else None

    def withdraw(self) -> None:
        """The endpoint takes no bulk after all."""
        self._offered, self._ask_again_at = False, time.monotonic() + ASK_AGAIN

    def worked(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        """A bulk began an outage. If that happens again while plain requests get through, bulk is the reason."""
        self._failures += 1
        if self._failures >= SUSPICIOUS:
            self.withdraw()

    def forget(self) -> None:
        """After an outage it may be another endpoint: it is asked again."""
        self._offered, self._failures = None, 0


def about_bulk(answer: Answer) -> bool:
    """The answer to a whole bulk may be about bulk alone: what is in it is then sent in plain requests."""
    return answer.status == _NOT_IMPLEMENTED or verdict(answer) not in {Verdict.RETRY, Verdict.TOO_LARGE}


def best(answers: list[Answer]) -> Answer:
    """The one that says most for the endpoint."""
    taken = next((answer for answer in answers if answer.taken), None)
    return taken or min(answers, key=lambda answer: _BEST_FIRST.index(verdict(answer)))
