"""What an answer means for the batch that was sent: the protocol's table of errors.

Pure functions. Must not know how a batch is sent, or what is done about a verdict.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum

from koala_middleware.delivery.transports import failures

SUSPENDED = "Koala ingest suspended"
LONGEST_RETRY_AFTER = 300.0  # seconds; an endpoint that asks for more is asked again sooner

WEB_PAGE = "a web page"

_NOT_NOW = frozenset({408, 425, 429})
_WRONG_ADDRESS_OR_KEY = frozenset({401, 403, 404, 405})
_PROXY_AUTHENTICATION_REQUIRED = 407


class Verdict(Enum):
    """What to do with the batch."""

    TAKEN = "taken"
    RETRY = "retry"  # send it again later, unchanged
    REFUSED = "refused"  # never send it again unchanged; parts of it may be taken
    TOO_LARGE = "too large"  # send it in parts
    HOLD = "hold"  # the configuration is wrong, not the data: keep everything, ask rarely


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one POST, or why there was none.

    Attributes:
        status: HTTP status; None when there was no answer.
        error: The `error` text of the answer, or one of the words in `failures`. The endpoint may repeat data in
            it, so it is kept with refused entries but never logged.
        retry_after: Seconds that the endpoint asks to wait.
    """

    status: int | None
    error: str = ""
    retry_after: float | None = None

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300 and self.error != WEB_PAGE

    @property
    def suspended(self) -> bool:
        return self.status == 400 and self.error.strip().lower() == SUSPENDED.lower()

    @property
    def may_have_it(self) -> bool:
        """There was no answer, but the endpoint may have taken the batch."""
        return self.status is None and self.error in failures.REQUEST_WAS_SENT

    @property
    def may_concern_one_batch(self) -> bool:
        """A HOLD that can be about this batch alone, where the endpoint takes others with the same key.

        A firewall in front of the endpoint answers 403 to a body that it dislikes; an endpoint without accounts
        answers 404 to theirs. Where nothing was taken yet, the key or the address is wrong.
        """
        return self.status in _WRONG_ADDRESS_OR_KEY

    @property
    def summary(self) -> str:
        """The answer in words for the log, without personal data."""
        if self.status is None:
            return self.error
        if self.error == WEB_PAGE:
            return f"HTTP {self.status} with a web page"
        return f'400 "{SUSPENDED}"' if self.suspended else f"HTTP {self.status}"


def verdict(answer: Answer) -> Verdict:
    """Returns what the protocol says to do after this answer."""
    status = answer.status
    if answer.taken:
        return Verdict.TAKEN
    if status is None or status in _NOT_NOW or status >= 500 or status < 200:
        return Verdict.RETRY
    # A redirect means a wrong endpoint: following it would turn the POST into a GET.
    if answer.suspended or status < 400 or status in {*_WRONG_ADDRESS_OR_KEY, _PROXY_AUTHENTICATION_REQUIRED}:
        return Verdict.HOLD
    return Verdict.TOO_LARGE if status == 413 else Verdict.REFUSED


def advice(answer: Answer, endpoint: str) -> str:
    """Tells whoever reads the log how to end a HOLD."""
    if answer.suspended:
        return "the hosted service is closed; set KOALA_ENDPOINT to a collector that runs"
    if answer.status == _PROXY_AUTHENTICATION_REQUIRED:
        return "the proxy wants a user and a password; check HTTP_PROXY and HTTPS_PROXY in the environment"
    if answer.error == WEB_PAGE:
        return (
            f"{endpoint} is no collector, or a login page stands in between; check endpoint (KOALA_ENDPOINT)"
        )
    if answer.status is not None and 300 <= answer.status < 400:
        return f"{endpoint} redirects; set KOALA_ENDPOINT to where it redirects to"
    settings = "endpoint (KOALA_ENDPOINT) and public_api_key (KOALA_PUBLIC_API_KEY)"
    if answer.status in {404, 405}:
        return f"no collector is at this address, or it does not know this key; check {settings}"
    return f"the endpoint does not take this key; check {settings}"


def retry_after(header: str | None, now: float | None = None) -> float | None:
    """Parses a Retry-After header: seconds or a date. Returns seconds to wait, None without a usable header.

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
