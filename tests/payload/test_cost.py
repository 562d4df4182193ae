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
# Each function is about 0.1 µs, and an entry is made within the request: 2 µs in calls are what it may cost there.
# A function for every value, rather than for every kind of value, would go far over it.
MOST_CALLS = 20
KINDS: tuple[EntryKind, ...] = ("track", "identify")


@pytest.mark.parametrize("kind", KINDS)
def test_an_ordinary_call_becomes_an_entry_in_few_functions(kind: EntryKind) -> None:
    said = {"plan": "pro", "seats": 12, "trial": True}
    calls = [Call(Person("p"), kind, "Paid", said, time.time_ns() + number * 10**6) for number in range(MANY)]
    build_entry(calls[0], "{}", scrub)  # names and events are judged once, and remembered
    with functions_entered() as entered:
        for call in calls:
            build_entry(call, "{}", scrub)
    assert entered.total() <= MOST_CALLS * MANY, entered
