"""Progress bars on a terminal's standard error, if tqdm is installed; nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def progress_bar(
    total: int | None = None, unit: str = "entries", description: str | None = None
) -> Iterator[Callable[[int], object]]:
    """Shows a bar while the block runs, and gives a function that advances it."""
    try:
        from tqdm import tqdm  # noqa: PLC0415  (the extra `cli`)
    except ImportError:
        yield lambda _: None
        return
    bar = tqdm(total=total, unit=f" {unit}", desc=description, delay=1.0, disable=None, file=sys.stderr)
    with bar:
        yield bar.update


def with_progress(items: Iterable[Item]) -> Iterator[Item]:
    """The items, with a bar that counts them."""
    with progress_bar() as advance:
        for item in items:
            yield item
            advance(1)
