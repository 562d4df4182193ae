"""Times in the collector are milliseconds since 1970, UTC. Must not know anything else."""

from __future__ import annotations

import time
from datetime import UTC, datetime

MINUTE = 60 * 1000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def iso(moment: int) -> str:
    """ISO 8601, UTC, with milliseconds and `Z`."""
    text = datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
