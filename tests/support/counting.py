"""Functions of this package that are entered: a cost that a busy machine counts as an idle one does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from support.profiling import profiled

import koala_middleware

# Not its name alone: a clone's own folder may have it, and then tests and the whole environment are below it.
PACKAGE = str(Path(koala_middleware.__file__).parent) + os.sep


@contextmanager
def functions_entered() -> Iterator[Counter[str]]:
    """Within the block, on the calling thread, by name."""
    entered: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            entered[frame.f_code.co_qualname] += 1

    with profiled(note):
        yield entered
