"""The garbage collector, for tests that count what is left to it."""

from __future__ import annotations

import gc


def from_here_on() -> None:
    """Collects what is garbage already, and takes all that is alive out of later collections and `gc.get_objects`.

    A collection among all that the suite has loaded takes a second.
    """
    gc.collect()
    gc.freeze()
