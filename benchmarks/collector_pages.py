"""How fast pages answer when millions of events are stored.

    python benchmarks/collector_pages.py --events 5000000 --database /tmp/five-million.db

Fills the database (kept for the next run) with visitors, people, companies and one person of 100,000 events, through
the collector's own recording; then starts a collector on it and asks each page 30 times over HTTP.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid

import orjson
import uuid6
from tqdm import tqdm

from koala_middleware.collector.recording.recorder import record_batches
from koala_middleware.collector.store.contract import Store
from koala_middleware.collector.store.opening import open_store
from koala_middleware.collector.store.sqlite.ledger import SqliteLedger
from koala_middleware.collector.validation.parsing import parse_person_batch

KEY = "pk_bench"
NAMES = tuple(f"Event {number}" for number in range(150))
GROUP = 100  # batches in a transaction
MONTH = 30 * 24 * 60 * 60 * 1000
BUSY = str(uuid.UUID(int=1 + (4 << 76) + (2 << 62)))


def batch(number: int, now: int) -> bytes:
    """30 events of one visitor somewhere in the last month; every third visitor is known by email."""
    profile = (
        BUSY if number % 50 == 0 else str(uuid.UUID(int=(number // 4) * 7919 + 10 + (4 << 76) + (2 << 62)))
    )
    start = now - random.randint(0, MONTH)
    events = [
        {
            "type": "track",
            "event": random.choice(NAMES),
            "message_id": str(uuid6.uuid7()),
            "sent_at": start + turn * 1000,
            "properties": {"report": f"r-{turn}", "rows": turn, "plan": "pro"},
        }
        for turn in range(30)
    ]
    body: dict[str, object] = {"profile_id": profile, "events": events}
    if profile == BUSY or (number // 4) % 3 == 0:
        email = (
            "busy@example.com" if profile == BUSY else f"person{number // 4}@company{number % 5000}.example"
        )
        traits = {"name": f"Person {number // 4}", "plan": random.choice(("free", "pro"))}
        body |= {"email": email, "identifies": [{"traits": traits, "sent_at": start}]}
    return orjson.dumps(body)


def fill(store: Store, events: int) -> None:
    store.prepare()
    ledger = store.ledger()
    if isinstance(ledger, SqliteLedger):
        ledger.connection.execute("PRAGMA synchronous = OFF")
    with store.reader() as reader:
        have = reader.totals().entries
    now = time.time_ns() // 1_000_000
    with tqdm(total=events, initial=have, unit=" events", unit_scale=True) as bar:
        for first in range(have // 30, events // 30, GROUP):
            group = [
                (0, parse_person_batch(KEY, batch(number, now), now))
                for number in range(first, first + GROUP)
            ]
            with ledger.transaction():
                bar.update(sum(record_batches(ledger, group)))
    ledger.close()


def ask(url: str, path: str, times: int) -> tuple[float, float, int]:
    took = []
    for _ in range(times):
        started = time.perf_counter()
        with urllib.request.urlopen(url + path) as answer:
            size = len(answer.read())
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took), max(took), size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--database", default="pages-bench.db", help="a SQLite file, or postgresql://…")
    parser.add_argument("--times", type=int, default=30)
    chosen = parser.parse_args()
    store = open_store(chosen.database)
    fill(store, chosen.events)
    with store.reader() as reader:
        busy, some = reader.person_by_email("busy@example.com")[0], reader.people(5)[-1].person_no
        account = reader.accounts(1)[0].account_no
        totals = reader.totals()
    print(f"{totals}; {store.size() / 1e9:.2f} GB")
    store.close()
    collector = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "koala_middleware.cli",
            "collector",
            "--port",
            "0",
            "--database",
            chosen.database,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert collector.stdout is not None
    url = collector.stdout.readline().removeprefix("Collector:").strip()
    pages = {
        "Live": "/",
        "Live, one kind": "/?kind=track",
        "Live, one event": "/?event=Event+7",
        "Live, one person": "/?person=busy%40example.com",
        "People": "/people",
        "People, search": "/people?q=person4242",
        "Person": f"/people/{some}",
        "Person, 100,000 events": f"/people/{busy}",
        "Accounts": "/accounts",
        "Account": f"/accounts/{account}",
        "Events, day": "/events",
        "Events, month": "/events?period=month",
        "Health": "/health",
    }
    try:
        for name, path in pages.items():
            median, worst, size = ask(url, path, chosen.times)
            print(f"{name:24} median {median:6.1f} ms, worst {worst:6.1f} ms, {size / 1000:.0f} KB")
    finally:
        collector.terminate()
        collector.wait()


if __name__ == "__main__":
    main()
