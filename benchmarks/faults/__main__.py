"""Runs every scenario for every subject, all subjects at once, and writes the table.

python -m benchmarks.faults [--only TEXT] [--subjects memory,durable] [--output FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.collector import Collector
from benchmarks.faults.emitter import SUBJECTS
from benchmarks.faults.scenarios import SCENARIOS, Scenario
from benchmarks.faults.table import written

ROOT = Path(__file__).parents[2]


@dataclass
class Outcome:
    """What one subject did in one scenario; times in milliseconds but for `exit`, memory in MB."""

    emitted: int = 0
    lost: int = 0
    copies: int = 0
    doubled: int = 0
    exit: float = 0.0
    hung: bool = False
    lines: int = 0
    said: str = ""
    back_after: float | None = None
    undecodable: int = 0
    requests: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    exact: bool | None = None


def run(scenario: Scenario, subject: str) -> Outcome:
    with tempfile.TemporaryDirectory() as place:
        return _Run(scenario, subject, Path(place)).outcome()


class _Run:
    def __init__(self, scenario: Scenario, subject: str, place: Path) -> None:
        self.scenario = scenario
        self.subject = subject
        self.place = place
        self.collector = Collector()
        self.collector.up()

    def outcome(self) -> Outcome:
        outcome = Outcome()
        scenario = self.scenario
        for at, mode in scenario.script:
            if at == 0:
                self._turn(mode)
        child = self._start("", scenario.events, close=scenario.ending == "shutdown")
        self._await_first_request(child)
        turns = [threading.Timer(at, self._turn, (mode,)) for at, mode in scenario.script if at]
        for turn in turns:
            turn.start()
        out, err = self._end(child, outcome)
        for turn in turns:
            turn.cancel()
        first = self._emitted()
        expected = self._names(first)
        if scenario.restart is not None:
            expected |= self._restart(outcome)
        outcome.emitted = len(expected)
        self._count(outcome, expected)
        outcome.lines = len(err.splitlines())
        outcome.said = next((line for line in err.splitlines() if "lost" in line or "pending" in line), "")
        outcome.report = _last_json(out)
        self._reconcile(outcome)
        self.collector.down()
        return outcome

    def _start(self, prefix: str, events: int, *, close: bool, **more: Any) -> subprocess.Popen[str]:
        counter = self.place / f"counter{prefix}"
        counter.write_bytes(struct.pack("q", 0))
        options = {
            "subject": self.subject,
            "url": self.collector.url,
            "outbox": str(self.place / "outbox"),
            "events": events,
            "rate": self.scenario.rate,
            "counter": str(counter),
            "close": close,
            "prefix": prefix,
            **self.scenario.options,
            **more,
        }
        if self.scenario.ending == "SIGTERM handled" and not prefix:
            options["sigterm"] = "sys.exit"
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.faults.emitter", json.dumps(options)]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            errors="replace",
            start_new_session=True,
        )

    def _await_first_request(self, child: subprocess.Popen[str]) -> None:
        """Times in a script count from here: a busy machine may take seconds to load a library."""
        while child.poll() is None and not self._emitted() and not self.scenario.options.get("forks"):
            time.sleep(0.01)

    def _end(self, child: subprocess.Popen[str], outcome: Outcome) -> tuple[str, str]:
        scenario, began = self.scenario, time.time()
        emission = scenario.events / scenario.rate if scenario.rate else 0.0
        if scenario.ending.startswith("SIG"):
            emission = 0.0  # who goes on after a signal is hung
            time.sleep(scenario.ends_at)
            child.send_signal(signal.SIGKILL if scenario.ending == "SIGKILL" else signal.SIGTERM)
            began = time.time()
        try:
            out, err = child.communicate(timeout=scenario.limit + emission)
        except subprocess.TimeoutExpired:
            outcome.hung = True
            os.killpg(child.pid, signal.SIGKILL)  # forked children as well: they hold the pipes open
            out, err = child.communicate()
        ended = _last_json(out).get("ended", began)
        outcome.exit = max(time.time() - ended, 0.0)
        return out, err

    def _restart(self, outcome: Outcome) -> set[str]:
        self.collector.mode = self.scenario.restart or "ok"
        self.collector.up()
        began = time.monotonic()
        child = self._start(
            "again-", 10, close=True, rate=None, wait=2.0 if "50 000" not in self.scenario.name else 60.0
        )
        before = self._names(self._emitted())
        while child.poll() is None and time.monotonic() - began < 90:
            if outcome.back_after is None and before <= set(self.collector.arrived):
                outcome.back_after = time.monotonic() - began
            time.sleep(0.02)
        child.kill()
        child.communicate()
        return {f"again-{number}" for number in range(10)}

    def _turn(self, mode: str) -> None:
        if mode == "down":
            self.collector.down()
        else:
            self.collector.mode = mode
            self.collector.up()

    def _emitted(self) -> int:
        (count,) = struct.unpack("q", (self.place / "counter").read_bytes())
        return count

    def _names(self, count: int) -> set[str]:
        if children := self.scenario.options.get("forks"):
            names = {f"child-{child}-{n}" for child in range(children) for n in range(self.scenario.events)}
            return names | {f"parent-{number}" for number in range(10)}
        names = {str(number) for number in range(count)}
        if self.scenario.options.get("poison"):
            names = {str(number) for number in range(self.scenario.events)} | {"poison-0"}
        return names

    def _count(self, outcome: Outcome, expected: set[str]) -> None:
        arrived = {event: keys for event, keys in self.collector.arrived.items() if event in expected}
        outcome.lost = len(expected) - len(arrived)
        outcome.copies = sum(len(keys) - 1 for keys in arrived.values())
        outcome.doubled = sum(len(set(keys)) > 1 for keys in arrived.values())
        outcome.undecodable = self.collector.undecodable
        outcome.requests = len(self.collector.requests)

    def _reconcile(self, outcome: Outcome) -> None:
        """Whether what the subject counted is what the collector saw."""
        stats = outcome.report.get("stats")
        if not stats or self.scenario.options.get("forks"):
            return
        fates = stats["delivered"] + stats["waiting"] + stats["refused"] + sum(stats["dropped"].values())
        adds_up = stats["accepted"] == fates
        if self.scenario.restart is None and self.scenario.ending == "shutdown":
            arrived, unanswered = (
                len(self.collector.arrived),
                stats["dropped"].get("unanswered at the end", 0),
            )
            adds_up = adds_up and stats["delivered"] <= arrived <= stats["delivered"] + unanswered
        outcome.exact = adds_up


def _last_json(out: str) -> dict[str, Any]:
    lines = [line for line in out.splitlines() if line.startswith("{")]
    try:
        return json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="scenarios whose name holds this text")
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "FAULTS.md")
    arguments = parser.parse_args()
    subjects = arguments.subjects.split(",")
    results: dict[str, dict[str, Outcome]] = {}
    for scenario in SCENARIOS:
        if arguments.only not in scenario.name:
            continue
        with ThreadPoolExecutor(len(subjects)) as pool:
            outcomes = list(pool.map(lambda subject, s=scenario: run(s, subject), subjects))
        results[scenario.name] = dict(zip(subjects, outcomes, strict=True))
        for subject, outcome in results[scenario.name].items():
            print(f"{scenario.name:50} {subject:8} {_short(outcome)}", flush=True)
        arguments.output.write_text(written(results, subjects))


def _short(outcome: Outcome) -> str:
    times = {name: round(outcome.report.get(name, 0.0), 2) for name in ("p50", "p99", "max", "memory")}
    return (
        f"lost {outcome.lost}/{outcome.emitted} copies {outcome.copies} doubled {outcome.doubled} "
        f"exit {outcome.exit:.1f}{' HUNG' if outcome.hung else ''} lines {outcome.lines} "
        f"requests {outcome.requests} broken {outcome.undecodable} exact {outcome.exact} "
        f"back {outcome.back_after} {times} {outcome.report.get('stats', '')} {outcome.said[:120]}"
    )


if __name__ == "__main__":
    asyncio.set_event_loop_policy(None)
    main()
