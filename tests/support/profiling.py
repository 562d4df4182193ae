"""A look at every function that this thread enters and leaves, for as long as a block lasts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, FunctionType
from typing import Any


@contextmanager
def profiled(note: Callable[[FrameType, str, Any], object]) -> Iterator[None]:
    """`note` is called as `sys.setprofile` says; who looked before goes on afterwards."""
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


@contextmanager
def just_as(entered: Callable[..., Any], then: Callable[[], object]) -> Iterator[None]:
    """Within the block, what another thread would do at the moment that this one enters a function."""
    assert isinstance(entered, FunctionType)
    code = entered.__code__

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is code:
            then()

    with profiled(note):
        yield
