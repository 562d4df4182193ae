"""Waiting until nothing waits: all that was handed over in this process has been answered, or time is up."""

from __future__ import annotations

from time import monotonic

from koala_middleware.client import living_clients


def let_go(endpoint: str) -> None:
    """Close every client that delivers to this endpoint, without waiting for it: a test that ended owes it
    nothing, and the next one should not inherit what it left."""
    for client in living_clients():
        if client.config.endpoint == endpoint:
            client.close(0)


def drain(timeout: float = 5.0) -> None:
    """Deliver now what any client of this process was given.

    Args:
        timeout: Seconds, for all of them together.
    Raises:
        TimeoutError: entries still wait after that; says how many, and for which endpoint.
    """
    deadline = monotonic() + timeout
    for client in living_clients():
        report = client.flush(max(0.0, deadline - monotonic()))
        if not report.complete:
            raise TimeoutError(
                f"{report.waiting} entries still wait for {client.config.endpoint} after {timeout:g} s"
            )
