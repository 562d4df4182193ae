"""A snapshot is the value at the call: nothing that happens to the original later shows in it."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from koala_middleware.payload.values.cleaner import plain
from koala_middleware.payload.values.snapshot import snapshot


def test_a_flat_dict_is_copied() -> None:
    properties = {"plan": "pro", "seats": 12, "trial": True}
    kept = snapshot(properties)
    properties["plan"] = "free"
    assert kept == {"plan": "pro", "seats": 12, "trial": True}


@dataclass
class Cart:
    items: list[str] = field(default_factory=list)


@pytest.mark.parametrize(
    ("inner", "change"),
    [
        pytest.param([1], lambda inner: inner.append(2), id="list"),
        pytest.param({"a": 1}, lambda inner: inner.clear(), id="dict"),
        pytest.param({1}, lambda inner: inner.add(2), id="set"),
        pytest.param(deque([1]), lambda inner: inner.append(2), id="deque"),
        pytest.param(OrderedDict(a=1), lambda inner: inner.clear(), id="OrderedDict"),
        pytest.param(bytearray(b"a"), lambda inner: inner.extend(b"b"), id="bytearray"),
        pytest.param(np.array([1]), lambda inner: inner.fill(2), id="numpy array"),
        pytest.param(Cart(), lambda inner: inner.items.append("tea"), id="a list in a dataclass"),
        pytest.param(Cart(), lambda inner: setattr(inner, "items", ["tea"]), id="a dataclass's field"),
        pytest.param(([1],), lambda inner: inner[0].append(2), id="a list in a tuple"),
    ],
)
def test_what_the_handler_changes_later_does_not_show(inner: Any, change: Any) -> None:
    before = plain({"cart": inner})
    kept = snapshot({"cart": inner})
    change(inner)
    assert plain(kept) == before
    assert plain({"cart": inner}) != before


def test_a_cycle_stays_a_cycle() -> None:
    mine: dict[str, Any] = {"a": [1]}
    mine["me"] = mine
    kept: Any = snapshot(mine)
    assert kept["me"] is kept
    assert kept is not mine


def test_values_that_multiply_by_sharing_are_copied_once_each() -> None:
    bomb: list[object] = ["boom"]
    for _ in range(30):
        bomb = [bomb, bomb]
    kept: Any = snapshot(bomb)
    assert kept is not bomb
    assert kept[0] is kept[1]


@pytest.mark.parametrize("huge", [list(range(100_000)), dict.fromkeys(range(100_000))], ids=["list", "dict"])
def test_a_huge_container_is_copied_only_as_far_as_it_will_be_said(huge: Any) -> None:
    for value in (huge, {"all": huge}):
        kept: Any = snapshot(value)
        assert len(kept if value is huge else kept["all"]) < 2_000
        assert plain(kept) == plain(value)


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError


class Refusing(type):
    def __hash__(cls) -> int:
        raise RuntimeError


class Refuser(metaclass=Refusing):
    pass


@pytest.mark.parametrize(
    "hostile",
    [pytest.param(Hostile(), id="raises at every touch"), pytest.param(Refuser(), id="a type that raises")],
)
def test_a_hostile_value_is_kept_and_its_neighbours_are_copied(hostile: object) -> None:
    tags = ["a"]
    kept: Any = snapshot({"bad": hostile, "tags": tags})
    tags.append("b")
    assert kept["bad"] is hostile
    assert kept["tags"] == ["a"]


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(json_like)
@settings(max_examples=examples(100), deadline=None)
def test_a_snapshot_says_the_same_as_the_value(value: object) -> None:
    assert plain(snapshot(value)) == plain(value)
