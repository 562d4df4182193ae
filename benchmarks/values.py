"""What it costs to record an entry: the snapshot in the handler, and the JSON of one entry after the response.

Interleaved with json.dumps of the same entry, which is the limit: read the ratios, for the times depend on
the machine and on who else is busy. Run: python benchmarks/values.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from time import perf_counter_ns
from uuid import UUID

from koala_middleware.payload.scrub.scrubber import scrub
from koala_middleware.payload.values.cleaner import plain
from koala_middleware.payload.values.sized_json import to_json
from koala_middleware.payload.values.snapshot import snapshot

ROUNDS = 300
CALLS = 100

PROPERTIES = {"plan": "pro", "seats": 12, "trial": True}
ENTRY = {
    "type": "track",
    "event": "Signed Up",
    "message_id": "018b1f3e-7c3a-7d52-8a1f-1842c193d3ba",
    "sent_at": "2023-11-30T02:51:36.840Z",
    "properties": PROPERTIES,
    "context": {
        "page": {
            "path": "/pricing",
            "url": "https://www.example.com/pricing",
            "host": "www.example.com",
            "referrer": "https://www.google.com/",
            "title": "",
            "utm": {},
        },
        "library": {"name": "koala-middleware", "version": "0.1.0"},
    },
}
BROWSER = {
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36",
    "locale": "en-GB",
}
FULL_ENTRY = {**ENTRY, "context": {**ENTRY["context"], **BROWSER}}  # type: ignore[dict-item]  # a dict, as above
RICH_PROPERTIES = {
    "order": UUID("3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"),
    "total": Decimal("19.99"),
    "paid_at": datetime(2023, 11, 30, tzinfo=UTC),
}

MEASURED: dict[str, Callable[[], object]] = {
    "json.dumps(entry)": lambda: json.dumps(ENTRY),
    "snapshot(properties)": lambda: snapshot(PROPERTIES),
    "snapshot(rich properties)": lambda: snapshot(RICH_PROPERTIES),
    "plain(entry)": lambda: plain(ENTRY),
    "scrub(entry)": lambda: scrub(ENTRY),
    "to_json(entry)": lambda: to_json(ENTRY),
    "to_json(scrub(entry))": lambda: to_json(scrub(ENTRY)),
    "to_json(scrub(rich entry))": lambda: to_json(scrub({**ENTRY, "properties": RICH_PROPERTIES})),
    "to_json(scrub(entry with user agent))": lambda: to_json(scrub(FULL_ENTRY)),
}


def measured() -> dict[str, list[float]]:
    """Microseconds of a call in each round, by name."""
    times: dict[str, list[float]] = {name: [] for name in MEASURED}
    for _ in range(ROUNDS):
        for name, call in MEASURED.items():
            start = perf_counter_ns()
            for _ in range(CALLS):
                call()
            times[name].append((perf_counter_ns() - start) / CALLS / 1000)
    return times


if __name__ == "__main__":
    times = measured()
    limit = times["json.dumps(entry)"]
    print(f"{'':40}{'median µs':>10}{'best µs':>10}{'of dumps':>14}")
    for name, rounds in times.items():
        ratio = statistics.median(own / base for own, base in zip(rounds, limit, strict=True))
        print(f"{name:40}{statistics.median(rounds):10.2f}{min(rounds):10.2f}{ratio:14.2f}")
