"""Bytes of JSON: compact, valid, and never more than an entry may take."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from koala_middleware.payload.values.cleaner import plain
from koala_middleware.payload.values.sized_json import to_json
from koala_middleware.payload.values.truncation import ENTRY_BYTES


def test_json_is_compact_utf8() -> None:
    assert to_json({"name": "Zoë", "seats": [1, 2]}) == '{"name":"Zoë","seats":[1,2]}'.encode()


@pytest.mark.parametrize(
    ("value", "body"),
    [
        pytest.param({"a": float("nan")}, b'{"a":null}', id="NaN"),
        pytest.param({"a": "\ud800"}, b'{"a":"\xef\xbf\xbd"}', id="a lone surrogate"),
        pytest.param({(1, 2): 3}, b'{"1,2":3}', id="a tuple key"),
        pytest.param({"a": object()}, b'{"a":"object"}', id="an object"),
        pytest.param({"a": 10**5000}, b'{"a":"int"}', id="a number too long"),
    ],
)
def test_what_is_not_plain_is_made_so(value: object, body: bytes) -> None:
    assert to_json(value) == body


def entry(**properties: object) -> dict[str, object]:
    return {
        "type": "track",
        "event": "Created Account",
        "message_id": "018b1f3e-7c3a-7d52-8a1f-1842c193d3ba",
        "sent_at": "2022-11-09T23:57:14.776Z",
        "properties": properties,
        "context": {"library": {"name": "koala-middleware", "version": "0.1.0"}},
    }


def fitted(said: dict[str, object]) -> dict[str, dict[str, object]]:
    body = to_json(plain(said))
    assert len(body) <= ENTRY_BYTES
    result: dict[str, dict[str, object]] = json.loads(body)
    return result


def test_an_entry_within_the_limit_is_not_marked() -> None:
    said = entry(text=["x" * 8000] * 4)
    assert fitted(said) == said


def test_the_largest_value_is_cut_and_all_others_stay() -> None:
    said = entry(big=["x" * 8000] * 10, plan="pro", address={"city": "London"})
    kept = fitted(said)
    texts = kept["properties"].pop("big")
    assert isinstance(texts, list)
    assert texts[:3] == ["x" * 8000] * 3
    assert kept == {**entry(plan="pro", address={"city": "London"}), "$truncated": True}


def test_several_large_texts_are_cut_alike() -> None:
    names = [f"text{number}" for number in range(10)]
    kept = fitted(entry(**dict.fromkeys(names, "x" * 8000), small="y" * 100))["properties"]
    lengths = {len(str(kept[name])) for name in names}
    assert kept["small"] == "y" * 100
    assert min(lengths) > 2_900
    assert max(lengths) - min(lengths) < 300


def test_of_many_small_values_the_first_are_kept() -> None:
    kept = fitted(entry(**{f"name{number:03}": "x" * 80 for number in range(900)}))["properties"]
    assert list(kept) == [f"name{number:03}" for number in range(len(kept))]
    assert 250 < len(kept) < 400
    assert set(kept.values()) == {"x" * 80}


def test_text_that_grows_in_json_is_cut_by_what_it_takes_there() -> None:
    kept = fitted(entry(controls="\x00" * 8000))["properties"]
    assert str(kept["controls"]).startswith("\x00" * 4000)


def test_a_list_loses_its_tail() -> None:
    body = to_json(list(range(100_000)))
    assert len(body) <= ENTRY_BYTES
    assert json.loads(body) == list(range(1_000))


sizes = st.sampled_from([0, 1, 50, 250, 300, 3_000, 8_000])
texts = st.builds(lambda size, letter: letter * size, sizes, st.sampled_from(["a", "\x00", "é", "🐨", '"']))
large = st.recursive(
    texts | st.integers(min_value=0) | st.just(10**300),
    lambda inner: (
        st.lists(inner, max_size=12) | st.dictionaries(texts.map(lambda text: text[:250]), inner, max_size=12)
    ),
    max_leaves=40,
)


@given(large | st.dictionaries(st.text(min_size=200, max_size=256), large, min_size=10, max_size=20))
@settings(max_examples=examples(30), deadline=None)
def test_nothing_takes_more_than_an_entry_may(value: object) -> None:
    body = to_json(plain(value))
    assert len(body) <= ENTRY_BYTES
    whole = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    if len(whole) <= 8_000 and isinstance(value, dict) and all(len(key) <= 64 for key in value):
        assert json.loads(body) == value
    if isinstance(value, dict) and len(whole) > 100_000:
        assert json.loads(body)["$truncated"] is True
