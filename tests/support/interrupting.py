"""Code that is interrupted, as by a signal handler or a finaliser, at each of its steps in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, ModuleType

from support.profiling import profiled


@dataclass
class Interruption:
    came: bool = False


@contextmanager
def interrupted_at(step: int, handler: Callable[[], None], *modules: ModuleType) -> Iterator[Interruption]:
    """Calls the handler when the so-many-th function of these modules' code, or of those it calls, begins or ends:
    in between Python lets no signal handler in."""
    interruption, left = Interruption(), step
    files = {module.__file__ for module in modules}

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        left -= event != "c_call" and frame.f_code.co_filename in files
        if left == 0 and not interruption.came:
            interruption.came = True
            handler()

    with profiled(note):
        yield interruption
