"""Whole sites under `wrk`, every request recorded: how much slower they are than without.

    python -m benchmarks.apps [--starts 3] [--rounds 5] [--seconds 3] [SITE ...]

Each site runs several times at once: with nothing, with us while the collector is healthy, slow (a second for each
answer) or dead, and with each peer. They take turns under the same load, and those that are not asked are stopped
meanwhile, so that what one has still to deliver costs no other anything. Processes of the same code differ by a
third, so all of them are started anew several times.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.endpoint import endpoint

BIN = Path(sys.executable).parent
CONNECTIONS = 8
DEAD = "http://127.0.0.1:9"
COLLECTORS = ("healthy", "slow", "dead")
PEERS = ("segment", "posthog", "sentry")
_UVICORN = (str(BIN / "uvicorn"), "--factory", "--log-level", "error", "--no-access-log")
_GUNICORN = (str(BIN / "gunicorn"), "--threads", "4", "--log-level", "error", "--no-control-socket")
SITES = {
    "FastAPI on uvicorn": (*_UVICORN, "benchmarks.sites:fastapi_site"),
    "Flask on gunicorn": (*_GUNICORN, "benchmarks.sites:flask_site()"),
    "Django on gunicorn": (*_GUNICORN, "benchmarks.sites:django_site()"),
}


Sites = dict[str, tuple[int, subprocess.Popen[bytes]]]  # by what they run with: their port, and their server


@dataclass(frozen=True)
class Load:
    """One run of wrk. Latencies in milliseconds; `cpu`: the site's CPU time for each request, in microseconds."""

    rate: float
    median: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Ratio:
    """With to without: the median of all rounds' ratios, each of two runs of one round.

    Attributes:
        cpu_without: What a request costs without, in microseconds of CPU time.
    """

    cpu_without: float
    cpu: float
    rate: float
    median: float
    p99: float


@contextmanager
def serving(command: tuple[str, ...], **environment: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = ("--bind", f"127.0.0.1:{port}") if "gunicorn" in command[0] else ("--port", str(port))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KOALA_")}
    process = subprocess.Popen(
        [*command, *place], env={**clean, **environment}, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        _await(port)
        yield port, process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("a site did not start")


@contextmanager
def standing(site: str, variants: tuple[str, ...] = COLLECTORS, **environment: str) -> Iterator[Sites]:
    """The site "without" anything, with us for each state of the collector, and with each peer."""
    with ExitStack() as stack:
        urls = {"dead": DEAD, "healthy": stack.enter_context(endpoint())}
        urls["slow"] = stack.enter_context(endpoint("--delay", "1"))
        sites = {"without": stack.enter_context(serving(SITES[site], **environment))}
        for variant in variants:
            sites[variant] = stack.enter_context(
                serving(SITES[site], **environment, **_recording(variant, urls))
            )
        yield sites


def _recording(variant: str, urls: dict[str, str]) -> dict[str, str]:
    """The environment of a site with a peer, or with us and a collector in this state."""
    if variant in PEERS:
        return {"BENCH_TRACKER": variant, "BENCH_ENDPOINT": urls["healthy"]}
    koala = {"KOALA_PUBLIC_API_KEY": "pk_bench", "KOALA_ENDPOINT": urls[variant]}
    return {"BENCH_TRACKER": "koala", **koala}


def compared(
    site: str, rounds: int, seconds: float, *, starts: int = 1, bare: bool = False
) -> dict[str, Ratio]:
    """By the collector's state or the peer's name."""
    environment = {"BENCH_BARE": "1"} if bare else {}
    variants = (*(COLLECTORS[:1] if bare else COLLECTORS), *PEERS)
    runs: dict[str, list[Load]] = {name: [] for name in ("without", *variants)}
    for _ in range(starts):
        with standing(site, variants, **environment) as sites:
            for name, found in _interleaved(sites, rounds, seconds).items():
                runs[name] += found
    return {variant: _ratio(runs[variant], runs["without"]) for variant in variants}


def _interleaved(sites: Sites, rounds: int, seconds: float) -> dict[str, list[Load]]:
    runs: dict[str, list[Load]] = {name: [] for name in sites}
    for site in sites.values():
        _load(site, 1.0)  # the first requests load modules and open connections
    for number in range(rounds):
        order = list(sites) if number % 2 == 0 else list(reversed(sites))
        for name in order:
            for other, (_, process) in sites.items():
                os.killpg(process.pid, signal.SIGCONT if other == name else signal.SIGSTOP)
            runs[name].append(_load(sites[name], seconds))
    for _, process in sites.values():
        os.killpg(process.pid, signal.SIGCONT)
    return runs


def _load(site: tuple[int, subprocess.Popen[bytes]], seconds: float) -> Load:
    port, process = site
    script = str(Path(__file__).with_name("visitors.lua"))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", script, f"http://127.0.0.1:{port}/"]
    before = _cpu_of_group(process.pid)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    used = _cpu_of_group(process.pid) - before
    requests, rate, median, p99, errors = done.stdout.partition("RESULT ")[2].split()[:5]
    if int(errors):
        raise SystemExit(f"{errors} requests failed")
    return Load(float(rate), float(median), float(p99), used / int(requests) * 1e6)


def _cpu_of_group(group: int) -> float:
    """Seconds of CPU time that all processes of a group have used so far."""
    used = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[2]) == group:
            used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")


def _ratio(ours: list[Load], without: list[Load]) -> Ratio:
    def median(what: str) -> float:
        ratios: list[float] = [
            getattr(own, what) / getattr(bare, what) for own, bare in zip(ours, without, strict=True)
        ]
        return statistics.median(ratios)

    return Ratio(
        statistics.median(bare.cpu for bare in without),
        *(median(what) for what in ("cpu", "rate", "median", "p99")),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sites", nargs="*", help=f"of {', '.join(SITES)}; all if none is named")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    for site in arguments.sites or SITES:
        for bare in (False, True):
            what = "nothing but a word" if bare else "a page"
            found = compared(site, arguments.rounds, arguments.seconds, starts=arguments.starts, bare=bare)
            for variant, ratio in found.items():
                print(
                    f"{site}, {what}, {variant}: CPU {ratio.cpu:.2f}, requests/s {ratio.rate:.2f}, "
                    f"median {ratio.median:.2f}, p99 {ratio.p99:.2f} of without",
                    flush=True,
                )


if __name__ == "__main__":
    main()
