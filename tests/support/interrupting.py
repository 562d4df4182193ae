"""Code that is interrupted, as by a signal handler or a finaliser, at each of its steps in turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType

from support.profiling import profiled


class Step:
    """Where code is interrupted: when the so-many-th function of these modules' code, or of those it calls, begins or
    ends. In between Python lets no signal handler in.

    Attributes:
        came: The code got as far.
    """

    def __init__(self, number: int, modules: tuple[ModuleType, ...]) -> None:
        self.number = number
        self.came = False
        self._files = {module.__file__ for module in modules}

    @contextmanager
    def interrupted_by(self, handler: Callable[[], None]) -> Iterator[None]:
        left = self.number

        def note(frame: FrameType, event: str, _: object) -> None:
            nonlocal left
            left -= event != "c_call" and frame.f_code.co_filename in self._files
            if left == 0 and not self.came:
                self.came = True
                handler()

        with profiled(note):
            yield


def every_step(*modules: ModuleType) -> Iterator[Step]:
    """The first, the second, and so on, until the code is through before its step comes."""
    for number in itertools.count(1):
        step = Step(number, modules)
        yield step
        if not step.came:
            return
