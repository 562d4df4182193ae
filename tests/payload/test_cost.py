"""What an entry costs to make, counted rather than timed, so that a busy machine says the same as an idle one.

How many microseconds that is, beside peers: `make bench`.
"""

from __future__ import annotations

import time

import pytest
from support.counting import functions_entered

from koala_middleware.payload.drafts import Call
from koala_middleware.payload.entries import build_entry
from koala_middleware.payload.scrub.scrubber import scrub
from koala_middleware.protocol.batches import EntryKind
from koala_middleware.protocol.subjects import Person

MANY = 200
# Functions of this package entered for one entry, as it is today. Each is about 0.1 µs: more of them want a
# reason, fewer a lower number here. The tenth is for the ids' random ends, which are drawn many at a time.
EACH: dict[EntryKind, float] = {"track": 9.1, "identify": 8.1}


@pytest.mark.parametrize("kind", EACH)
def test_an_ordinary_call_becomes_an_entry_in_few_functions(kind: EntryKind) -> None:
    said = {"plan": "pro", "seats": 12, "trial": True}
    calls = [Call(Person("p"), kind, "Paid", said, time.time_ns() + number * 10**6) for number in range(MANY)]
    build_entry(calls[0], "{}", scrub)  # names and events are judged once, and remembered
    with functions_entered() as entered:
        for call in calls:
            build_entry(call, "{}", scrub)
    assert entered.total() <= EACH[kind] * MANY, entered
