"""What a broker's word on a batch means: taken, or what went wrong, in words that hold no address and nobody's
data."""

from __future__ import annotations

from koala_middleware.delivery.transports.answers import CUT, SILENT, Answer

TAKEN = Answer(202)
TOO_LARGE = Answer(413)  # for this broker: smaller parts may do


class BrokerAwayError(Exception):
    """The broker cannot be asked now. The message is the kind of failure."""


def kind_of(error: Exception, *, sent: bool) -> str:
    """The kind of a client's exception; each client has its own.

    Args:
        sent: A message was on its way, so the broker may have it.
    """
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, ConnectionRefusedError) or "Connection refused" in str(cause):
        return "connection refused"
    if isinstance(cause, TimeoutError) or type(cause).__name__ == "TimeoutError":
        return SILENT if sent else "no connection in time"
    if isinstance(cause, OSError) or type(cause).__name__ == "ConnectionError":
        return CUT if sent else "no connection"
    return type(cause).__name__
