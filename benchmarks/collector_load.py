"""How many batches a second the collector takes over HTTP, each answered only after its commit.

    python benchmarks/collector_load.py --seconds 10 --events 1    # one-person batches: identify and one event
    python benchmarks/collector_load.py --seconds 10 --events 30   # events, 30 a batch
    … --database postgresql://koala:…@localhost/koala --collectors 2

Starts a collector on a new database, sends from a process of its own (this one) over keep-alive connections with
a page open, and prints batches/s, events/s and the latency's percentiles. Bodies are made beforehand, and the
sender speaks HTTP by hand, so that its own cost leaves room on a two-core machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import uuid6
import uvloop

KEY = "pk_bench"


def body_of(number: int, events: int, people: int) -> bytes:
    """One request: a person of their own (events=1), or one of many visitors with 30 events."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    profile = str(uuid.UUID(int=(number % people) * 7919 + (4 << 76) + (2 << 62)))
    tracks = [
        {
            "type": "track",
            "event": ("Viewed Report", "Saved Draft", "Invited Teammate", "Exported")[turn % 4],
            "message_id": str(uuid6.uuid7()),
            "sent_at": now,
            "properties": {"report": f"r-{turn}", "rows": 42, "plan": "pro"},
            "context": {"page": {"path": "/reports", "host": "app.example.com"}},
        }
        for turn in range(events)
    ]
    body: dict[str, object] = {"profile_id": profile, "events": tracks}
    if events == 1:
        email = f"person{number % people}@company{number % 997}.example"
        traits = {"email": email, "name": f"Person {number}", "plan": "pro"}
        body |= {
            "email": email,
            "identifies": [
                {"type": "identify", "sent_at": now, "message_id": str(uuid6.uuid7()), "traits": traits}
            ],
        }
    return orjson.dumps(body)


def request_of(body: bytes, host: str) -> bytes:
    head = (
        f"POST /web/projects/{KEY}/batch HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench/1.0\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def sender(host: str, port: int, requests: list[bytes], until: float, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while requests and time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(requests.pop())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"Refused: {head!r}")
        latencies.append(time.perf_counter() - started)
    writer.close()


async def watch(host: str, port: int) -> None:
    """An open Live page."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /live/stream HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    while await reader.read(65536):
        pass


async def load(
    urls: list[str], requests: list[bytes], seconds: float, connections: int
) -> tuple[float, list[float]]:
    """From each connection to one of the collectors, in turn."""
    places = [(split.hostname or "", split.port or 0) for split in map(urlsplit, urls)]
    page = asyncio.create_task(watch(*places[0]))
    latencies: list[float] = []
    started = time.perf_counter()
    await asyncio.gather(
        *(
            sender(*places[number % len(places)], requests, started + seconds, latencies)
            for number in range(connections)
        )
    )
    took = time.perf_counter() - started
    page.cancel()
    return took, latencies


@contextmanager
def collecting(database: str) -> Iterator[str]:
    """A collector in a process of its own; its URL."""
    command = [sys.executable, "-m", "koala_middleware.cli", "collector", "--port", "0"]
    with subprocess.Popen([*command, "--database", database], stdout=subprocess.PIPE, text=True) as collector:
        assert collector.stdout is not None
        try:
            yield collector.stdout.readline().removeprefix("Collector:").strip()
        finally:
            collector.terminate()


def database_bytes(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(
        float(line.split()[1]) for line in lines if line.startswith("koala_collector_database_bytes ")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--events", type=int, default=1)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument(
        "--people", type=int, default=10_000_000, help="distinct visitors; then they come again"
    )
    parser.add_argument("--most", type=int, default=0, help="bodies made beforehand (default: enough)")
    parser.add_argument("--database", help="a SQLite file, or postgresql://… (default: a new SQLite file)")
    parser.add_argument("--collectors", type=int, default=1, help="processes on the one database")
    chosen = parser.parse_args()
    most = chosen.most or int(chosen.seconds * (6_000 if chosen.events == 1 else 2_500))
    requests = [
        request_of(body_of(number, chosen.events, chosen.people), "localhost") for number in range(most)
    ]
    requests.reverse()
    with tempfile.TemporaryDirectory() as folder:
        database = chosen.database or str(Path(folder) / "bench.db")
        with ExitStack() as stack:
            urls = [stack.enter_context(collecting(database)) for _ in range(chosen.collectors)]
            took, latencies = uvloop.run(load(urls, requests, chosen.seconds, chosen.connections))
            size = database_bytes(urls[0])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = (used.ru_utime + used.ru_stime) / len(latencies) * 1e6
    centiles = statistics.quantiles(latencies, n=1000)
    print(
        f"{len(latencies)} batches in {took:.1f} s: {len(latencies) / took:,.0f} batches/s, "
        f"{len(latencies) * chosen.events / took:,.0f} events/s"
    )
    print(
        f"latency ms: median {centiles[499] * 1e3:.1f}, p99 {centiles[989] * 1e3:.1f}, "
        f"p99.9 {centiles[998] * 1e3:.1f}, worst {max(latencies) * 1e3:.1f}; "
        f"processor {processor:.0f} µs a batch (collectors alone), database {size / 1e6:.0f} MB, "
        f"load of the machine {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
