"""Delivers what the clients of this process hold, or closes them."""

from __future__ import annotations

from time import monotonic

from koala_middleware.pipeline import all_pipelines


def close_clients_of(endpoint: str) -> None:
    """Close every client of this endpoint without waiting, so that the next test does not inherit its entries."""
    for pipeline in all_pipelines():
        if pipeline.config.endpoint == endpoint:
            pipeline.delivery.close(0)


def drain(timeout: float = 5.0) -> None:
    """Deliver everything that the clients of this process hold.

    Args:
        timeout: Seconds, for all of them together.
    Raises:
        TimeoutError: entries still wait; says how many, and for which endpoint.
    """
    deadline = monotonic() + timeout
    for pipeline in all_pipelines():
        report = pipeline.delivery.flush(max(0.0, deadline - monotonic()))
        if not report.complete:
            endpoint = pipeline.config.endpoint
            raise TimeoutError(f"after {timeout:g} s, entries still waiting for {endpoint}: {report.waiting}")
