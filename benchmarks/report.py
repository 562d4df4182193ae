"""What was measured, as Markdown tables and as one picture. Must not know how anything is measured."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path

_WIDTH, _LEFT, _ROW, _BAR = 760, 300, 26, 16  # pixels
_OURS, _THEIRS, _INK = "#2f7d5b", "#b7b7b0", "#33332f"


@dataclass(frozen=True)
class Table:
    """One part of the report.

    Attributes:
        about: A sentence or two: what was measured, and how to read it.
    """

    title: str
    about: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [f"| {' | '.join(self.head)} |", "|---" + "|---:" * (len(self.head) - 1) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return f"## {self.title}\n\n{self.about}\n\n" + "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Bars:
    """One panel of the picture: shorter is better; ours stand out by their name."""

    title: str
    bars: Sequence[tuple[str, float]]
    unit: str
    digits: int = 1


@dataclass
class Part:
    """What one benchmark found."""

    table: Table
    panels: list[Bars] = field(default_factory=list)


def machine() -> str:
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {os.cpu_count()} cores "
        f"({_processor()}), Linux {platform.release().split('-')[0]}; load averages at the start: {load}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def written(parts: Sequence[Part], about_the_machine: str) -> str:
    head = (
        "# Results\n\nRemade by `make bench`; every table compares what ran in turn on one machine. Times are "
        "CPU time where it says so, which a busy machine disturbs less; where the load is above 0.5, read the "
        f"ratios and not the numbers.\n\n{about_the_machine}\n\n"
    )
    return head + "\n".join(part.table.markdown() for part in parts)


def replaced(results: str, table: Table) -> str:
    """The results with this table instead of the one with its title, or with it before the others."""
    sections = re.split(r"^(?=## )", results, flags=re.MULTILINE)
    begins = f"## {table.title}\n"
    kept = [section for section in sections if not section.startswith(begins)]
    at = next((number for number, section in enumerate(sections) if section.startswith(begins)), 1)
    section = table.markdown() + ("\n" if kept[at:] else "")
    return "".join([*kept[:at], section, *kept[at:]])


def picture(panels: Sequence[Bars]) -> str:
    """All panels, one below the other, as SVG."""
    drawn, y = [], 0.0
    for panel in panels:
        drawn.append(_panel(panel, y))
        y += 40 + _ROW * len(panel.bars)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y:g}" width="{_WIDTH}" '
        f'font-family="system-ui, sans-serif" font-size="13">\n'
        f'<rect width="{_WIDTH}" height="{y:g}" fill="#ffffff"/>\n{"".join(drawn)}</svg>\n'
    )


def _panel(panel: Bars, top: float) -> str:
    longest = max(value for _, value in panel.bars)
    lines = [_text(8, top + 24, f"{panel.title} ({panel.unit})", weight="600")]
    for number, (name, value) in enumerate(panel.bars):
        y = top + 36 + number * _ROW
        length = max((_WIDTH - _LEFT - 70) * value / longest, 1)
        colour = _OURS if "koala" in name else _THEIRS
        lines.append(_text(_LEFT - 10, y + 13, name, anchor="end"))
        lines.append(f'<rect x="{_LEFT}" y="{y:g}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>\n')
        lines.append(_text(_LEFT + length + 6, y + 13, f"{value:.{panel.digits}f}"))
    return "".join(lines)


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:g}" text-anchor="{anchor}" font-weight="{weight}" fill="{_INK}">'
        f"{escape(text)}</text>\n"
    )
