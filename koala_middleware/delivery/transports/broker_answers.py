"""Answers for batches that were handed to a broker. Must not know any broker's client."""

from __future__ import annotations

from koala_middleware.delivery.transports import failures
from koala_middleware.delivery.transports.answers import Answer

ACCEPTED = Answer(202)
TOO_LARGE = Answer(413)  # for this broker; parts of the batch may be accepted


def failure_of(error: Exception, *, sent: bool) -> str:
    """Translates an exception of a broker's client into one of the words in `failures`.

    Args:
        sent: The message was on its way, so the broker may have it.
    """
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, ConnectionRefusedError) or "Connection refused" in str(cause):
        return failures.CONNECTION_REFUSED
    if isinstance(cause, TimeoutError) or type(cause).__name__ == "TimeoutError":
        return failures.NO_ANSWER if sent else failures.CONNECT_TIMEOUT
    if isinstance(cause, OSError) or type(cause).__name__ == "ConnectionError":
        return failures.CONNECTION_LOST if sent else failures.NO_CONNECTION
    return type(cause).__name__
