"""The geometry of bar charts; templates/_bars.html draws them as inline SVG, without script or inline style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bar:
    """One part of one bar, in the chart's units. `title` is its tooltip."""

    x: float
    y: float
    width: float
    height: float
    style: str
    title: str


def bars(
    columns: Sequence[tuple[str, Mapping[str, int]]], width: float, height: float, least: int = 1
) -> list[Bar]:
    """Stacked bars, left to right.

    Args:
        columns: A label and the parts, bottom first, by style: `("14:00", {"taken": 20, "refused": 1})`.
        least: The least value of a full-height bar, so that a single request does not fill the chart.
    """
    highest = max([least, *(sum(parts.values()) for _, parts in columns)])
    step = width / max(1, len(columns))
    drawn = []
    for index, (label, parts) in enumerate(columns):
        top = height
        for style, value in parts.items():
            if value:
                tall = max(1.5, value / highest * height)
                top -= tall
                said = f"{label}: {value:,} {style}" if style != "count" else f"{label}: {value:,}"
                drawn.append(
                    Bar(
                        round(index * step, 2),
                        round(top, 2),
                        round(step * 0.8, 2),
                        round(tall, 2),
                        style,
                        said,
                    )
                )
    return drawn
