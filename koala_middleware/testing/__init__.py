"""For tests of apps that use Koala: recorded batches, a test collector, and `drain`.

The pytest plugin offers these as fixtures; other test runners use them directly. Production code must not import them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koala_middleware.testing.collector import Answer, Collector, ReceivedRequest
    from koala_middleware.testing.draining import drain
    from koala_middleware.testing.recorded import RecordedBatches, RecordedEntry
    from koala_middleware.testing.recorder import recording

__all__ = ["Answer", "Collector", "ReceivedRequest", "RecordedBatches", "RecordedEntry", "drain", "recording"]

_MODULES = {
    "Answer": "collector",
    "Collector": "collector",
    "ReceivedRequest": "collector",
    "RecordedEntry": "recorded",
    "RecordedBatches": "recorded",
    "drain": "draining",
    "recording": "recorder",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: pytest imports this package in every run where it is installed.
    if name in _MODULES:
        return getattr(import_module(f"koala_middleware.testing.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
