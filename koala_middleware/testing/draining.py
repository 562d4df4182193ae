"""Delivers what the clients of this process hold, or closes them."""

from __future__ import annotations

from time import monotonic

from koala_middleware.client import living_clients


def close_clients_of(endpoint: str) -> None:
    """Close every client of this endpoint without waiting, so that the next test does not inherit its entries."""
    for client in living_clients():
        if client.config.endpoint == endpoint:
            client.close(0)


def drain(timeout: float = 5.0) -> None:
    """Deliver everything that the clients of this process hold.

    Args:
        timeout: Seconds, for all of them together.
    Raises:
        TimeoutError: entries still wait; says how many, and for which endpoint.
    """
    deadline = monotonic() + timeout
    for client in living_clients():
        report = client.flush(max(0.0, deadline - monotonic()))
        if not report.complete:
            raise TimeoutError(
                f"after {timeout:g} s, entries still waiting for {client.config.endpoint}: {report.waiting}"
            )
