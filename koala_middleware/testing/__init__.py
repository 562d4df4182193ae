"""For the tests of an app that uses Koala: recorded batches, a real collector, and `drain`.

The pytest plugin turns these into fixtures; other test runners use them directly. Must not be imported by production
code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koala_middleware.testing.collector import Answer, Collector, Received
    from koala_middleware.testing.draining import drain
    from koala_middleware.testing.recorded import Recorded, RecordedBatches
    from koala_middleware.testing.recorder import recording

__all__ = ["Answer", "Collector", "Received", "Recorded", "RecordedBatches", "drain", "recording"]

_HOMES = {
    "Answer": "collector",
    "Collector": "collector",
    "Received": "collector",
    "Recorded": "recorded",
    "RecordedBatches": "recorded",
    "drain": "draining",
    "recording": "recorder",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: pytest imports this package in every run, also of projects that do not use it.
    if name in _HOMES:
        return getattr(import_module(f"koala_middleware.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
