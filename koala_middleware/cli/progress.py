"""A progress bar on the terminal, for commands that go through many entries."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def with_progress(items: Iterable[Item]) -> Iterator[Item]:
    with progress() as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def progress(total: int | None = None) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal's standard error, where tqdm is installed; nothing elsewhere."""
    try:
        from tqdm import tqdm  # noqa: PLC0415  (the extra `cli`)
    except ImportError:
        yield lambda _: None
        return
    with tqdm(total=total, unit=" entries", delay=1.0, disable=None, file=sys.stderr) as bar:
        yield bar.update
