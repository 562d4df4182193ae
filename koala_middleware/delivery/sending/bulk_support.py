"""Whether many people's batches may go in one request: only where the endpoint says so, and as long as it does.

Nobody is asked before that matters, so a site with few visitors never asks. Bookkeeping for one thread. Must not know
parcels or threads.
"""

from __future__ import annotations

import math

from koala_middleware.delivery.transports.answers import Answer, Verdict, verdict
from koala_middleware.protocol.limits import BULK_LINES

ASK_AGAIN = 300.0  # seconds after a no
SUSPICIOUS = 2  # outages in a row that each began with a bulk
_NOT_IMPLEMENTED = 501

# What a bulk's answers say of the endpoint, best first: it is there if it has judged a single one of them.
_BEST_FIRST = (Verdict.REFUSED, Verdict.TOO_LARGE, Verdict.RETRY, Verdict.HOLD)


class BulkSupport:
    """Attributes: `offered` is None until the endpoint was asked. `asking`: a request is on its way to find out."""

    def __init__(self) -> None:
        self.offered: bool | None = None
        self.asking = False
        self._ask_again_at = math.inf
        self._failures = 0
        self._most = BULK_LINES

    def most(self, now: float) -> int:
        """How many parcels are worth claiming for one request."""
        if self.offered is False and now >= self._ask_again_at:
            self.offered = None
        return 1 if self.offered is False or self.asking else self._most

    def found(self, *, offered: bool, now: float) -> None:
        """The endpoint was asked."""
        self.offered, self._ask_again_at = offered, now + ASK_AGAIN

    def withdraw(self, now: float) -> None:
        """The endpoint takes no bulk after all."""
        self.found(offered=False, now=now)

    def too_large(self, parcels: int) -> None:
        """The endpoint would not take so many at once."""
        self._most = max(parcels // 2, 1)

    def worked(self) -> None:
        self._failures = 0

    def failed(self, now: float) -> None:
        """A bulk began an outage. If that happens again while plain requests get through, bulk is the reason."""
        self._failures += 1
        if self._failures >= SUSPICIOUS:
            self.withdraw(now)

    def forget(self) -> None:
        """After an outage it may be another endpoint: it is asked again."""
        self.offered, self._failures, self._most = None, 0, BULK_LINES


def about_bulk(answer: Answer) -> bool:
    """The answer to a whole bulk may be about bulk alone: what is in it is then sent in plain requests."""
    return answer.status == _NOT_IMPLEMENTED or verdict(answer) not in {Verdict.RETRY, Verdict.TOO_LARGE}


def best(answers: list[Answer]) -> Answer:
    """The one that says most for the endpoint."""
    taken = next((answer for answer in answers if answer.taken), None)
    return taken or min(answers, key=lambda answer: _BEST_FIRST.index(verdict(answer)))
