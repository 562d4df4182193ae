"""Functions of a package that are entered, of ours unless another is named: a cost that a busy machine counts as an
idle one does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from support.profiling import profiled

import koala_middleware


@contextmanager
def functions_entered(package: ModuleType = koala_middleware) -> Iterator[Counter[str]]:
    """Within the block, on the calling thread, by name."""
    entered: Counter[str] = Counter()
    # Not its name alone: a clone's own folder may have it, and then tests and the whole environment are below it.
    folder = str(Path(str(package.__file__)).parent) + os.sep

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(folder):
            entered[frame.f_code.co_qualname] += 1

    with profiled(note):
        yield entered
