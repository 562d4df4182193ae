"""How long to wait before trying again. Pure: attempts and time in, seconds out.

In an outage's first minute no two tries are more than 2 s apart, so that what waits arrives within 2 s of the
endpoint's return; in a long one the gaps grow to 30 s. The jitter fills the upper half of each gap: processes
spread out, and the number of tries has a bound from both sides.
"""

from __future__ import annotations

from random import SystemRandom

FIRST_GAP = 0.25
EARLY_GAP = 2.0
LATE_GAP = 30.0
EARLY_FOR = 60.0  # seconds of an outage in which the early gap holds
HELD_GAP = 1.0  # while the endpoint holds everything: doubled at each probe
PROBE_GAP = 300.0  # and no longer than this

_MOST_DOUBLINGS = 16
# Our own generator: a seeded or forked one would make all processes of the app retry in step.
_random = SystemRandom()


def longest_pause(attempt: int, outage: float) -> float:
    """The longest pause before the next try, in seconds.

    Args:
        attempt: How many tries have failed, from 1.
        outage: Seconds since the first of them.
    """
    growing = FIRST_GAP * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
    limit = EARLY_GAP if outage < EARLY_FOR else min(LATE_GAP, EARLY_GAP * outage / EARLY_FOR)
    return min(growing, limit)


def pause(attempt: int, outage: float) -> float:
    """A jittered pause before the next try, in seconds."""
    return spread(longest_pause(attempt, outage))


def held_pause(attempt: int) -> float:
    """A jittered pause before an endpoint that holds everything is asked again, in seconds.

    Short at first: a deployment may be under way."""
    return spread(min(HELD_GAP * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS), PROBE_GAP), least=0.9)


def spread(most: float, least: float = 0.5) -> float:
    """A random duration between `least * most` and `most` seconds."""
    return most * _random.uniform(least, 1.0)
