"""The outcomes as Markdown: one table of losses, one of what they cost the app."""

from __future__ import annotations

import platform
from typing import Any

_TITLES = {"nothing": "the app alone", "memory": "koala, memory", "durable": "koala, durable"}


_TEXT = """# Faults

What each library loses of the events that a child process emitted through real WSGI requests, against a
collector that misbehaves as the row says. Remade by `make faults`; all subjects of a row ran at the same
time on one machine (Python {python}), each with a collector of its own and its defaults.

*lost*: emitted and never arrived, also not after the restart where the row has one. *copies*: arrived
again under the same idempotency key, so a collector that dedupes counts them once. *new keys*: arrived
again under another key, so nothing can tell. *hung*: did not end and was killed. The collector offers bulk, as
ours does.

{losses}
## What it costs the app

Median, 99th percentile and longest request in ms, from its first byte until the app is free for the next one;
seconds from the last request to the end of the process; lines on standard error; growth of memory in MB.

{costs}"""


def written(results: dict[str, dict[str, Any]], subjects: list[str]) -> str:
    losses = _table(results, [subject for subject in subjects if subject != "nothing"], _loss)
    costs = _table({name: row for name, row in results.items() if _tells_costs(name, row)}, subjects, _cost)
    return _TEXT.format(python=platform.python_version(), losses=losses, costs=costs)


def _table(results: dict[str, dict[str, Any]], subjects: list[str], cell: Any) -> str:
    head = "| fault | events | " + " | ".join(_TITLES.get(subject, subject) for subject in subjects) + " |\n"
    rule = "|---|---|" + "---|" * len(subjects) + "\n"
    rows = [
        f"| {name} | {max(outcome.emitted for outcome in row.values())} | "
        + " | ".join(cell(row[subject]) for subject in subjects)
        + " |\n"
        for name, row in results.items()
    ]
    return head + rule + "".join(rows)


def _tells_costs(name: str, row: dict[str, Any]) -> bool:
    """Not where all were killed before they could tell, nor where only what is said differs."""
    return "poison" not in name and any(outcome.report for outcome in row.values())


def _loss(outcome: Any) -> str:
    parts = [f"**{outcome.lost}**" if outcome.lost else "0"]
    if outcome.hung:
        parts.append("hung")
    if outcome.copies:
        parts.append(f"{outcome.copies} copies")
    if outcome.doubled:
        parts.append(f"{outcome.doubled} new keys")
    if outcome.undecodable:
        parts.append(f"{outcome.undecodable} broken requests")
    if outcome.report.get("raised"):
        parts.append("raised in the handler")
    return ", ".join(parts)


def _cost(outcome: Any) -> str:
    report = outcome.report
    if not report:
        return "-"
    return (
        f"{report['p50']:.2f} / {report['p99']:.2f} / {report['max']:.1f}; exit {outcome.exit:.1f}; "
        f"{outcome.lines} lines; {report.get('memory', 0):.0f} MB"
    )
