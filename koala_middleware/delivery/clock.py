"""The clock that delivery waits by: seconds that only go forward, whatever the wall clock or a test does.

Libraries that freeze time for a test replace `time.monotonic`; a delivery thread that waits by a frozen clock never
wakes up. They leave this one alone.
"""

from __future__ import annotations

from functools import partial
from time import CLOCK_MONOTONIC, clock_gettime

monotonic = partial(clock_gettime, CLOCK_MONOTONIC)
