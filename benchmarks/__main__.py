"""Runs the benchmarks and writes what they found: RESULTS.md, and the picture in the README.

    python -m benchmarks [PART ...] [--quick]      # `make bench` runs all, in about 25 minutes

Each part's own module says how it measures, and runs by itself with more options. A run of all parts writes; of the
parts that are named only those are written that no neighbour disturbs, the others are printed.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Bars, Part, Table, machine, picture, replaced, written

HERE = Path(__file__).parent
INSTRUCTIONS = "What a request executes"


def exchange(*, quick: bool) -> Part:
    from benchmarks.exchange import FAMILIES, compare

    rows, calls = [], []
    for family, variants in FAMILIES.items():
        costs = compare(variants(), 10 if quick else 60)
        rows += [(f"{family}: {name}", f"{cost:.1f}") for name, cost in costs.items() if name != "bare"]
        if family == "in a handler":
            calls = [(name.replace("koala.", "koala_middleware, "), cost) for name, cost in costs.items()]
    table = Table(
        "What a request pays",
        "Microseconds of CPU time above the bare app: a request with its cookie that records nothing, and one "
        "call in a handler.",
        ("", "µs"),
        rows,
    )
    tracks = [
        (name, cost)
        for name, cost in calls
        if "track, three" in name or ("," in name and "koala" not in name)
    ]
    return Part(table, [Bars("One track() in a handler", tracks, "µs of CPU, less is better")])


def instructions(*, quick: bool) -> Part:
    from benchmarks.instructions import ValgrindMissingError, counted

    about = (
        "Instructions that one request to a FastAPI app executes, by valgrind's callgrind: 600 requests less 100, "
        "divided by 500, each of another visitor and with its delivery, on all threads of the process."
    )
    try:
        found = counted(few=10, many=60) if quick else counted()
    except ValgrindMissingError as missing:
        return Part(Table(INSTRUCTIONS, f"Not measured: {missing}.", ("", "instructions", "above bare"), []))
    rows = [
        (name, f"{number:,.0f}", "" if name == "bare" else f"{number - found['bare']:,.0f}")
        for name, number in found.items()
    ]
    return Part(Table(INSTRUCTIONS, about, ("", "instructions", "above bare"), rows))


def delivery(*, quick: bool) -> Part:
    from benchmarks.delivery import SUBJECTS, compared

    people = 4_000 if quick else 20_000
    costs = compared(list(SUBJECTS), people, 1 if quick else 5)
    table = Table(
        "From the call to the endpoint's answer",
        f"One event each of {people:,} people, all recorded at once. CPU seconds of the sending process for 10,000 "
        "events, calls and encoding included, and events a second until the last was answered. The endpoint costs "
        "next to nothing, but for the collector's row. segment, posthog and rudder put 100 people into one request.",
        ("", "CPU s per 10,000", "events/s"),
        [(SUBJECTS[name].name, f"{cost.cpu:.2f}", f"{cost.rate:,.0f}") for name, cost in costs.items()],
    )
    shown = ("koala", "segment", "rudder", "posthog")
    bars = [(SUBJECTS[name].name, costs[name].cpu) for name in shown]
    return Part(table, [Bars("Delivering 10,000 events of as many people", bars, "CPU s, less is better", 2)])


def interference(*, quick: bool) -> Part:
    from benchmarks.delivery import SUBJECTS
    from benchmarks.interference import COMPARED, NOTHING, compared

    rows = []
    for subject, late in compared(COMPARED, 1.0 if quick else 4.0, 1 if quick else 5).items():
        name = "no events" if subject == NOTHING else SUBJECTS[subject].name
        rows.append((name, *(f"{value:,.0f}" for value in (late.median, late.p99, late.longest))))
    about = (
        "An app sleeps for 500 µs, works for 100 and records one event, over and over, while its events are delivered: "
        "how much later than it asked it wakes up, in microseconds; medians of the runs, and the longest of all."
    )
    return Part(
        Table("How late the app's own thread wakes up", about, ("", "median", "p99", "longest"), rows)
    )


def posting(*, quick: bool) -> Part:
    from benchmarks.posting import compared

    costs = compared(500 if quick else 2_000, 2 if quick else 5)
    return Part(
        Table(
            "One POST after the other",
            "One kept connection, one thread: what plain requests cost, and why delivery asks requests' pool once "
            "and http.client then.",
            ("", "µs CPU", "POSTs/s"),
            [(name, f"{cost.cpu:.0f}", f"{cost.rate:,.0f}") for name, cost in costs.items()],
        )
    )


def memory(*, quick: bool) -> Part:  # noqa: ARG001  (one shape for all parts)
    from benchmarks.memory import ENTRIES, bytes_per_entry

    rows = []
    for each in (1, 10):
        used, body = bytes_per_entry(each)
        rows.append((f"{each} of each visitor", f"{used:.0f}", f"{body:.0f}"))
    about = f"A full memory outbox, {ENTRIES:,} entries: bytes for each, its own body included."
    return Part(Table("Memory of an entry that waits", about, ("", "bytes", "of which its body"), rows))


def apps(*, quick: bool) -> Part:
    from benchmarks.apps import COLLECTORS, PEERS, SITES, compared

    rows = []
    starts, rounds, seconds = (1, 1, 1.0) if quick else (4, 2, 2.0)
    measures = (("CPU", "cpu"), ("requests/s", "rate"), ("median", "median"), ("p99", "p99"))
    for site in SITES:
        for bare, what in ((False, "a page"), (True, "one word")):
            found = compared(site, rounds, seconds, starts=starts, bare=bare)
            without = next(iter(found.values())).cpu_without
            for measure, attribute in measures:
                shown = f"{measure} ({without:,.0f} µs without)" if attribute == "cpu" else measure
                cells = (
                    f"{getattr(found[name], attribute):.2f}" if name in found else ""
                    for name in (*COLLECTORS, *PEERS)
                )
                rows.append((f"{site}, {what}: {shown}", *cells))
    return Part(
        Table(
            "Whole sites under load",
            "One worker process under `wrk` with 8 connections, as fast as it goes; every request is recorded, of a "
            "thousand visitors. Without anything = 1.00, medians of paired runs, the sites started anew "
            f"{starts} times: CPU time of the site for a request, delivery included; requests a second (more is "
            "better); how long a response takes. A page is five queries and 200 rows in a template; one word is the "
            "least that an app can do. The slow collector takes a second for each answer. sentry records a "
            "transaction for each request, the others one event.",
            ("", *(f"koala_middleware, collector {state}" for state in COLLECTORS), *PEERS),
            rows,
        )
    )


def responses(*, quick: bool) -> Part:
    from benchmarks.responses import SITES, compared

    rows = []
    for site in SITES:
        for state, later in compared(site, 1 if quick else 5, 100 if quick else 600).items():
            numbers = (f"{later.without:,.0f}", f"{later.median:.2f}", f"{later.p99:.2f}")
            rows.append((f"{site}, a page, collector {state}", *numbers))
    about = (
        "The same sites without pressure: one request after the other on one connection, 3 ms between them, every one "
        "tracking. How long a response takes, from the request to its last byte; without us = 1.00, medians of paired "
        "runs. What is done after a response is over by the next one."
    )
    head = ("", "µs without us", "median", "p99")
    return Part(Table("How long a response takes", about, head, rows))


def imports(*, quick: bool) -> Part:  # noqa: ARG001  (one shape for all parts)
    from benchmarks.imports import ADAPTERS, added_by

    rows = []
    for module, framework in ADAPTERS.items():
        alone, added = added_by(module, framework)
        rows.append((f"`{module}`", f"{added:.0f}", f"{alone:.0f}"))
    about = "Milliseconds of CPU time that the import adds, beside Python and what the app imports anyway."
    return Part(Table("What importing costs", about, ("", "ms", "ms without us"), rows))


UNDISTURBED = {"instructions"}  # parts whose figures are the same beside a busy neighbour
PARTS: dict[str, Callable[..., Part]] = {
    "exchange": exchange,
    "instructions": instructions,
    "delivery": delivery,
    "interference": interference,
    "apps": apps,
    "responses": responses,
    "posting": posting,
    "memory": memory,
    "imports": imports,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None and "apps" in (arguments.parts or PARTS):
        raise SystemExit("Whole sites are put under load by wrk, which is missing: apt-get install wrk")
    about_the_machine, parts = machine(), []
    for name in arguments.parts or PARTS:
        began = time.monotonic()
        parts.append(PARTS[name](quick=arguments.quick))
        print(
            parts[-1].table.markdown(), f"({name}: {time.monotonic() - began:.0f} s)\n", sep="\n", flush=True
        )
        if name in UNDISTURBED and arguments.parts and not arguments.quick and parts[-1].table.rows:
            results = HERE / "RESULTS.md"
            results.write_text(replaced(results.read_text(), parts[-1].table))
    if not arguments.parts:
        (HERE / "RESULTS.md").write_text(written(parts, about_the_machine))
        (HERE / "results.svg").write_text(picture([panel for part in parts for panel in part.panels]))


if __name__ == "__main__":
    main()
