"""Moments as text. Times in the collector are milliseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(moment: int) -> str:
    """ISO 8601, UTC, milliseconds, `Z`."""
    return (
        datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
