"""Waiting for what nobody announces, with a deadline. What announces itself is waited for by an event."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

DEADLINE = 60.0  # seconds for anything to happen; nothing takes half of it


def until(look: Callable[[], Found], what: str = "it", seconds: float = DEADLINE) -> Found:
    """The first true answer of `look`; fails where none comes in time."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"did not happen within {seconds:g} s: {what}"
        time.sleep(0.01)
    return found
