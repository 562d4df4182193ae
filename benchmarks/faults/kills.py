"""Many SIGKILLs at random moments of one durable outbox, the collector up and down in turns: what is lost?

python -m benchmarks.faults.kills [NUMBER]
"""

from __future__ import annotations

import json
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.faults.collector import Collector

ROOT = Path(__file__).parents[2]


def main(kills: int) -> None:
    collector = Collector()
    with tempfile.TemporaryDirectory() as place:
        put: set[str] = set()
        for life in range(kills):
            collector.down() if life % 3 == 0 else collector.up()
            put |= one_life(life, collector, Path(place))
        collector.up()
        began = time.monotonic()
        drain(collector, Path(place))
        lost = put - set(collector.arrived)
        copies = sum(len(keys) - 1 for keys in collector.arrived.values())
        print(
            f"{kills} kills, {len(put)} entries put, {len(lost)} lost, {copies} copies, "
            f"{collector.undecodable} broken requests; the last start took {time.monotonic() - began:.1f} s"
        )


def one_life(life: int, collector: Collector, place: Path) -> set[str]:
    """A process that emits until it is killed; the names of what it was told is safe."""
    child, counter = start(life, collector, place, events=1_000_000, rate=1000.0)
    while not count(counter):
        time.sleep(0.005)
    time.sleep(random.uniform(0.0, 0.6))
    child.send_signal(signal.SIGKILL)
    child.communicate()
    return {f"{life}-{number}" for number in range(count(counter))}


def drain(collector: Collector, place: Path) -> None:
    child, _ = start(-1, collector, place, events=1, rate=None, wait=120.0, close=True)
    child.communicate(timeout=150)


def start(
    life: int, collector: Collector, place: Path, **more: float | None
) -> tuple[subprocess.Popen[str], Path]:
    counter = place / f"counter{life}"
    counter.write_bytes(struct.pack("q", 0))
    options = {
        "subject": "durable",
        "url": collector.url,
        "outbox": str(place / "outbox"),
        "counter": str(counter),
        "prefix": f"{life}-",
        **more,
    }
    command = [sys.executable, "-m", "benchmarks.faults.emitter", json.dumps(options)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ), counter


def count(counter: Path) -> int:
    (number,) = struct.unpack("q", counter.read_bytes())
    return int(number)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
