"""Whether the endpoint takes bulk requests: many people's batches in one.

Nobody is asked before that matters, so a site with few visitors never asks. Bookkeeping for one thread. Must not know
parcels or threads.
"""

from __future__ import annotations

import math

from koala_middleware.delivery.transports.answers import Answer, Verdict, verdict
from koala_middleware.protocol.limits import BULK_LINES

ASK_AGAIN = 300.0  # seconds after the endpoint declined
SUSPICIOUS = 2  # outages in a row that began with a bulk request
_NOT_IMPLEMENTED = 501

# From the best news about the endpoint to the worst: a verdict on a single batch shows that it works.
_BEST_FIRST = (Verdict.REFUSED, Verdict.TOO_LARGE, Verdict.RETRY, Verdict.HOLD)


class BulkSupport:
    """Attributes: `offered` is None until the endpoint was asked. `asking`: a request to find out is in flight."""

    def __init__(self) -> None:
        self.offered: bool | None = None
        self.asking = False
        self._ask_again_at = math.inf
        self._failures = 0
        self._most = BULK_LINES

    def most(self, now: float) -> int:
        """The number of parcels to claim for one request."""
        if self.offered is False and now >= self._ask_again_at:
            self.offered = None
        return 1 if self.offered is False or self.asking else self._most

    def found(self, *, offered: bool, now: float) -> None:
        """Record what the endpoint offers."""
        self.offered, self._ask_again_at = offered, now + ASK_AGAIN

    def withdraw(self, now: float) -> None:
        """The endpoint does not take bulk requests."""
        self.found(offered=False, now=now)

    def too_large(self, parcels: int) -> None:
        """The endpoint did not take so many at once."""
        self._most = max(parcels // 2, 1)

    def worked(self) -> None:
        self._failures = 0

    def failed(self, now: float) -> None:
        """A bulk request began an outage. If that repeats while single requests succeed, bulk is the cause."""
        self._failures += 1
        if self._failures >= SUSPICIOUS:
            self.withdraw(now)

    def forget(self) -> None:
        """Ask again after an outage: it may be another endpoint."""
        self.offered, self._failures, self._most = None, 0, BULK_LINES


def about_bulk(answer: Answer) -> bool:
    """Whether an answer may be about bulk requests as such. Their batches are then sent in single requests."""
    return answer.status == _NOT_IMPLEMENTED or verdict(answer) not in {Verdict.RETRY, Verdict.TOO_LARGE}


def best(answers: list[Answer]) -> Answer:
    """The answer with the best news about the endpoint."""
    taken = next((answer for answer in answers if answer.taken), None)
    return taken or min(answers, key=lambda answer: _BEST_FIRST.index(verdict(answer)))
