"""How late an app's thread wakes up while its events are delivered: the price of a second thread in one interpreter.

    python -m benchmarks.interference [--seconds 4] [--rounds 3] [SUBJECT ...]

The app sleeps for half a millisecond, as if it waited for a socket, works for a tenth of one and records one event,
over and over. What counts is how much later than it asked it wakes up. Each run is a process of its own, in turn with
the others; the endpoint costs next to nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from uuid import UUID

from benchmarks.delivery import SUBJECTS, Track
from benchmarks.endpoint import endpoint

SLEEP, WORK = 0.0005, 0.0001  # seconds
VISITORS = 1_000
NOTHING = "nothing"
COMPARED = (NOTHING, "koala", "koala-durable", "segment", "posthog", "rudder")


@dataclass(frozen=True)
class Lateness:
    """Microseconds. Medians of a subject's runs, and the longest of all."""

    median: float
    p99: float
    longest: float


def run_once(subject: str, url: str, seconds: float) -> None:
    """Runs in a process of its own and prints how late it was."""
    track, flush = (lambda _: None, lambda: None) if subject == NOTHING else SUBJECTS[subject].make(url)
    visitors = [str(UUID(int=(4 << 76) + (2 << 62) + number)) for number in range(VISITORS)]
    track(visitors[0])  # opens connections and threads
    flush()
    late = sorted(_lateness(track, visitors, seconds))
    flush()
    print(json.dumps([late[len(late) // 2], late[len(late) * 99 // 100], late[-1]]))


def _lateness(track: Track, visitors: list[str], seconds: float) -> list[float]:
    """How late each wake-up was, in microseconds."""
    late: list[float] = []
    end = time.perf_counter() + seconds
    while (slept_at := time.perf_counter()) < end:
        time.sleep(SLEEP)
        woken_at = time.perf_counter()
        late.append((woken_at - slept_at - SLEEP) * 1e6)
        while time.perf_counter() < woken_at + WORK:
            pass
        track(visitors[len(late) % VISITORS])
    return late


def compared(subjects: tuple[str, ...], seconds: float, rounds: int) -> dict[str, Lateness]:
    """Every round has all of them in turn."""
    runs: dict[str, list[list[float]]] = {subject: [] for subject in subjects}
    with endpoint() as url:
        for _ in range(rounds):
            for subject in subjects:
                runs[subject].append(_run(subject, url, seconds))
    return {subject: _of(found) for subject, found in runs.items()}


def _run(subject: str, url: str, seconds: float) -> list[float]:
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--once", subject, "--url", url]
    done = subprocess.run(
        [*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True, check=True
    )
    run: list[float] = json.loads(done.stdout.splitlines()[-1])
    return run


def _of(runs: list[list[float]]) -> Lateness:
    medians, p99s, longest = zip(*runs, strict=True)
    return Lateness(statistics.median(medians), statistics.median(p99s), max(longest))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", help=f"of {', '.join(COMPARED)}; all if none is named")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        run_once(arguments.once, arguments.url, arguments.seconds)
        return
    subjects = tuple(arguments.subjects) or COMPARED
    for subject, late in compared(subjects, arguments.seconds, arguments.rounds).items():
        print(
            f"{late.median:6.0f} {late.p99:6.0f} {late.longest:8.0f} µs late: median, p99, longest   {subject}"
        )


if __name__ == "__main__":
    main()
