"""The short way to JSON, of mappings that hold a few short texts and numbers: it says what the long way says."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koala_middleware.payload.scrub.scrubber import scrub
from koala_middleware.payload.values.cleaner import MASK, Cleaner, plain
from koala_middleware.protocol.encoding import json_text

CARD = 4111_1111_1111_1111

names = st.one_of(
    st.sampled_from(
        ["plan", "naïve", "password", "prompt_tokens", "sk_live_0123456789abcdef", '"', "x" * 70, "x" * 300]
    ),
    st.text(max_size=10),
    st.integers(),
    st.booleans(),
    st.none(),
)
values = st.one_of(
    st.text(st.characters(), max_size=20),  # lone surrogates too
    st.sampled_from([str(CARD), "Bearer abc123def456", "password=hunter2", "x" * 257, "pro"]),
    st.integers(),
    st.sampled_from([CARD, -1, -2, 10**13, 10**13 - 1]),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@pytest.mark.parametrize("clean", [pytest.param(plain, id="plain"), pytest.param(scrub, id="scrub")])
@given(members=st.dictionaries(names, values, max_size=5))
def test_it_says_what_the_long_way_says_or_leaves_it_to_that(
    clean: Cleaner, members: dict[object, Any]
) -> None:
    assert clean.flat_json(members) in {None, json_text(clean(members))}


def test_it_is_the_way_of_most_events() -> None:
    said: dict[str, object] = {"plan": "pro", "seats": 12, "price": 9.5, "trial": True, "coupon": None}
    for clean in (plain, scrub):
        assert clean.flat_json(said) == '{"plan":"pro","seats":12,"price":9.5,"trial":true,"coupon":null}'
        assert clean.flat_json({}) == "{}"


def test_it_masks_a_secret_within_a_text() -> None:
    assert scrub.flat_json({"note": f"paid by {CARD}"}) == f'{{"note":"paid by {MASK}"}}'
    assert plain.flat_json({"password": "hunter2"}) == '{"password":"hunter2"}'


LEFT_TO_THE_LONG_WAY: dict[str, object] = {
    "NaN": {"price": math.nan},
    "infinity": {"price": -math.inf},
    "a number as long as a card's": {"order": CARD},
    "a long text": {"note": "x" * 257},
    "a text with more than ASCII": {"note": "naïve"},
    "a list": {"seats": [1]},
    "a name that is a secret's": {"password": "hunter2"},
    "a name that holds a secret": {"sk_live_0123456789abcdef": 1},
    "a long name": {"x" * 300: 1},
    "a name that is no text": {1: 1},
    "many members": {str(number): number for number in range(65)},
    "a text alone": "text",
    "nothing": None,
}


@pytest.mark.parametrize("said", LEFT_TO_THE_LONG_WAY.values(), ids=LEFT_TO_THE_LONG_WAY)
def test_it_leaves_all_else_to_the_long_way(said: object) -> None:
    assert scrub.flat_json(said) is None
