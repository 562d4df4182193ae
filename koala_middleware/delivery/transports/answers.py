"""What an answer of the endpoint means for the batch that was sent. Pure: status and error text in,
verdict out.

Must not know how a batch travels, nor what is done about a verdict.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum

SUSPENDED = "Koala ingest suspended"
LONGEST_RETRY_AFTER = 300.0  # seconds; an endpoint that asks for more is asked again sooner

CUT = "connection lost"
SILENT = "no answer in time"

_NOT_NOW = frozenset({408, 425, 429})
_WRONG_KEY = frozenset({401, 403, 407})


class Verdict(Enum):
    """What to do with the batch."""

    TAKEN = "taken"
    RETRY = "retry"  # later, unchanged
    REFUSED = "refused"  # never again unchanged; smaller parts of it may do
    TOO_LARGE = "too large"  # in smaller parts
    HOLD = "hold"  # a matter of configuration, not of data: keep everything, ask rarely


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one POST, or why nothing did.

    Attributes:
        status: HTTP status; None when there was no answer.
        error: The answer's own `error` text, or the kind of failure ("connection refused"). The endpoint may
            repeat data in it, so it is kept with refused entries but never logged.
        retry_after: Seconds that the endpoint asks to wait.
    """

    status: int | None
    error: str = ""
    retry_after: float | None = None

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def suspended(self) -> bool:
        return self.status == 400 and self.error.strip().lower() == SUSPENDED.lower()

    @property
    def may_have_it(self) -> bool:
        """There was no answer, but the request may have been taken."""
        return self.status is None and self.error in {CUT, SILENT}

    @property
    def summary(self) -> str:
        """The same in words that hold nobody's data."""
        if self.status is None:
            return self.error
        return f'400 "{SUSPENDED}"' if self.suspended else f"HTTP {self.status}"


def verdict(answer: Answer) -> Verdict:
    """The protocol's table of errors."""
    status = answer.status
    if answer.taken:
        return Verdict.TAKEN
    if status is None or status in _NOT_NOW or status >= 500 or status < 200:
        return Verdict.RETRY
    # A redirect is a wrong endpoint setting: following it would turn the POST into a GET.
    if answer.suspended or status in _WRONG_KEY or status < 400:
        return Verdict.HOLD
    return Verdict.TOO_LARGE if status == 413 else Verdict.REFUSED


def whole_batch_refused(answer: Answer) -> bool:
    """The answer is about the address, not about an entry: no smaller part would do better."""
    return answer.status in {404, 405}


def what_to_do(answer: Answer, endpoint: str) -> str:
    """Advice for a held outbox."""
    if answer.suspended:
        return "the hosted service is closed; set KOALA_ENDPOINT to a collector that runs"
    if answer.status is not None and 300 <= answer.status < 400:
        return f"{endpoint} redirects; set KOALA_ENDPOINT to where it redirects to"
    return "the endpoint does not take this key; check KOALA_PUBLIC_API_KEY and KOALA_ENDPOINT"


def retry_after(header: str | None, now: float | None = None) -> float | None:
    """Seconds to wait, from a Retry-After header in seconds or as a date; None where there is none to use.

    Args:
        now: Seconds since the epoch; the clock's when None.
    """
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(at - (time.time() if now is None else now), 0.0), LONGEST_RETRY_AFTER)
