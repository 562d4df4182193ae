"""How long a response takes where the site is not under pressure: one visitor after the other, with a pause between.

    python -m benchmarks.responses [--rounds 5] [--requests 300] [SITE ...]

Under `wrk` (apps.py) every microsecond of CPU makes each response later, wherever it is spent. Here what comes after a
response is over when the next request comes, so a response is only as much later as what is done before its last
byte. Same sites, each without us and with us while the collector is healthy, slow or dead, in turn.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import time
from dataclasses import dataclass

from benchmarks.apps import COLLECTORS, SITES, standing

PAUSE = 0.003  # seconds
VISITORS = 100


@dataclass(frozen=True)
class Later:
    """With us to without us: the medians of all rounds' ratios. `without` in microseconds."""

    without: float
    median: float
    p99: float


def compared(site: str, rounds: int, requests: int) -> dict[str, Later]:
    """By the collector's state."""
    with standing(site) as sites:
        ports = {name: port for name, (port, _) in sites.items()}
        runs: dict[str, list[list[float]]] = {name: [] for name in ports}
        for port in ports.values():
            _asked(port, 50)  # the first requests load modules and open connections
        for number in range(rounds):
            for name in list(ports) if number % 2 == 0 else list(reversed(ports)):
                runs[name].append(_asked(ports[name], requests))
    return {state: _later(runs[state], runs["without"]) for state in COLLECTORS}


def _asked(port: int, requests: int) -> list[float]:
    """How long each took, in microseconds, in ascending order."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    took = []
    for number in range(requests):
        time.sleep(PAUSE)
        cookie = f"ko_id=00000000-0000-4000-8000-{number % VISITORS:012d}"
        began = time.perf_counter()
        connection.request("GET", "/", headers={"Cookie": cookie})
        connection.getresponse().read()
        took.append((time.perf_counter() - began) * 1e6)
    connection.close()
    return sorted(took)


def _later(ours: list[list[float]], without: list[list[float]]) -> Later:
    def ratio(share: float) -> float:
        pairs = zip(ours, without, strict=True)
        return statistics.median(
            [own[int(len(own) * share)] / bare[int(len(bare) * share)] for own, bare in pairs]
        )

    return Later(statistics.median([bare[len(bare) // 2] for bare in without]), ratio(0.5), ratio(0.99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sites", nargs="*", help=f"of {', '.join(SITES)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    for site in arguments.sites or SITES:
        for state, later in compared(site, arguments.rounds, arguments.requests).items():
            print(
                f"{site}, collector {state}: {later.without:,.0f} µs without us; median {later.median:.2f}, "
                f"p99 {later.p99:.2f} of that",
                flush=True,
            )


if __name__ == "__main__":
    main()
