"""Whatever a handler says, a valid body leaves: within limits, in the protocol's shape, without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.examples import examples

from koala_middleware.calls.validation import check_event_name
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.schedule.items import Waiting
from koala_middleware.delivery.schedule.items import batch_of as batch_of_parcel
from koala_middleware.delivery.schedule.lanes import Lanes
from koala_middleware.payload.drafts import Call
from koala_middleware.payload.entries import build_batch
from koala_middleware.payload.outgoing_filter import OutgoingFilter
from koala_middleware.payload.values.snapshot import snapshot
from koala_middleware.payload.values.truncation import ENTRY_BYTES
from koala_middleware.protocol.batches import Batch, Entry, EntryKind
from koala_middleware.protocol.limits import BATCH_BYTES
from koala_middleware.protocol.request_bodies import request_body
from koala_middleware.protocol.subjects import Account, Person

FILTER = OutgoingFilter(KoalaConfig(public_api_key="pk_test"))
CARD = "4111 1111 1111 1111"
TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[object]:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = object.__repr__


def deep(levels: int) -> list[object]:
    inner: list[object] = []
    for _ in range(levels):
        inner = [inner]
    return inner


any_text = st.text(st.characters(), max_size=20)  # lone surrogates too
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.decimals(),
    st.fractions(),
    any_text,
    st.binary(max_size=20),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.dates(),
    st.times(),
    st.timedeltas(timedelta(-(10**6)), timedelta(10**6)),
    st.uuids(),
    st.ip_addresses(),
    st.sampled_from([object, len, CARD, f"see {TOKEN}."]),
    st.sampled_from(["x", "\x00", "🐨"]).map(lambda letter: letter * 9_000),
    st.sampled_from([400, 5_000]).map(lambda digits: 10**digits),
    st.builds(Hostile),
    st.builds(deep, st.sampled_from([5, 50, 5_000])),
)
keys = any_text | st.sampled_from(
    [None, True, 1, 1.5, (1, "a"), frozenset({1}), CARD, "password", "$truncated"]
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.lists(inner, max_size=3).map(iter),
        st.dictionaries(keys, inner, max_size=5),
        st.lists(inner, max_size=3).map(lambda items: items * 400),
    )


values = st.recursive(atoms, nested, max_leaves=15)
data = st.dictionaries(keys, values, max_size=6).map(snapshot)


def is_event_name(name: str) -> bool:
    """Whether `track()` takes it: a blank name raises there."""
    try:
        check_event_name(name)
    except ValueError:
        return False
    return True


calls = st.builds(
    lambda kind, name, said, at: Call(Person("p"), kind, name, said, at),
    st.sampled_from(["identify", "track", "page"]),
    st.text(st.characters(), min_size=1, max_size=10).filter(is_event_name),
    data,
    st.integers(0, 2 * 10**18),
)


def sent(*batches: Batch) -> list[Batch]:
    """What delivery makes of them: a batch for each request."""
    lanes = Lanes(linger=0.0)
    for batch in batches:
        for entry in batch.entries:
            lanes.add(Waiting(entry.kind, entry.body, batch.subject, batch.ip, 0.0), 0.0)
    requests: list[Batch] = []
    while claimed := list(lanes.claim(0.0, 1)):
        [parcel] = claimed
        requests.append(batch_of_parcel(parcel.items))
        lanes.settle(parcel, parcel.items, 0.0)
    return requests


@given(st.lists(calls, max_size=8), data)
@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_values_make_a_valid_body(
    batch_schema: Draft202012Validator, said: list[Call], extra: dict[Any, Any]
) -> None:
    person = Person("3e6a2c18-3b02-40c4-b8d2-1842c193d3ba", "ada@example.com")
    context = {"page": {"path": "/", "utm": {}}}
    said = [call._replace(context=extra) for call in said]
    batch = build_batch(person, said, json.dumps(context), FILTER.clean)
    assert len(batch.entries) == len(said)
    for part in sent(batch):
        body = request_body(part)
        assert len(body) <= BATCH_BYTES
        batch_schema.validate(json.loads(body, parse_constant=_no_constant))
        assert CARD.encode() not in body
        assert TOKEN.encode() not in body
    assert all(len(entry.body) <= ENTRY_BYTES for entry in batch.entries)


@given(st.lists(calls.map(lambda call: call._replace(kind="track")), max_size=3))
@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_values_make_a_companys_valid_body(
    accounts_batch_schema: Draft202012Validator, said: list[Call]
) -> None:
    batch = build_batch(Account("example.com"), said, "{}", FILTER.clean)
    accounts_batch_schema.validate(json.loads(request_body(batch), parse_constant=_no_constant))


def _no_constant(name: str) -> object:
    raise AssertionError(f"{name} is no JSON")


kinds: st.SearchStrategy[EntryKind] = st.sampled_from(["identify", "track", "page"])
sizes = st.sampled_from([2, 100, 20_000, ENTRY_BYTES])
entries = st.tuples(kinds, sizes, st.sampled_from("ab"))


def entry(drawn: tuple[EntryKind, int, str]) -> Entry:
    kind, size, letter = drawn
    return Entry(kind, f'"{letter * (size - 2)}"'.encode())


@given(st.lists(entries, max_size=20), st.integers(0, 5), kinds)
@settings(max_examples=examples(100), deadline=None)
def test_splitting_keeps_every_entry_in_order_and_within_the_limits(
    some: list[tuple[EntryKind, int, str]], times: int, kind: EntryKind
) -> None:
    many = (*map(entry, some * times), *[Entry(kind, b"0")] * 35)
    batch = Batch(Person("p" * 100, "e" * 300), many, "203.0.113.7")
    parts = sent(batch)
    assert [one.body for part in parts for one in part.entries] == [one.body for one in batch.entries]
    for part in parts:
        assert (part.subject, part.ip) == (batch.subject, batch.ip)
        body = request_body(part)
        assert len(body) <= BATCH_BYTES
        arrays = json.loads(body)
        for own, array in {"identify": "identifies", "track": "events", "page": "page_views"}.items():
            listed = [json.dumps(item).encode() for item in arrays.get(array, [])]
            assert listed == [entry.body for entry in part.entries if entry.kind == own]
            assert len(listed) <= 30


def test_the_limit_of_a_body_counts_its_head_too() -> None:
    filling = [entry(("track", BATCH_BYTES // 25 - 1, "a"))] * 25
    parts = sent(Batch(Person("p" * 100, "e" * 300), tuple(filling)))
    assert [len(part.entries) for part in parts] == [24, 1]
    assert all(len(request_body(part)) <= BATCH_BYTES for part in parts)


people = st.builds(Person, st.sampled_from([None, "p", "q"]), st.sampled_from([None, "a@x", "b@x"]))


@given(people, people, st.lists(entries, min_size=1, max_size=3), st.lists(entries, min_size=1, max_size=3))
@settings(max_examples=examples(100), deadline=None)
def test_what_is_said_one_after_the_other_goes_together_and_never_mixes_people(
    first: Person,
    second: Person,
    before: list[tuple[EntryKind, int, str]],
    after: list[tuple[EntryKind, int, str]],
) -> None:
    said = (*map(entry, before), *map(entry, after))
    parts = sent(
        Batch(first, tuple(map(entry, before))), Batch(second, tuple(map(entry, after)), "203.0.113.7")
    )
    assert sorted(one.body for part in parts for one in part.entries) == sorted(one.body for one in said)
    if len(parts) == 2:
        assert first.key != second.key or first.email != second.email
        return
    [both] = parts
    assert [one.body for one in both.entries] == [one.body for one in said]
    assert both.ip == "203.0.113.7"
    assert isinstance(both.subject, Person)
    for person in (first, second):
        assert person.profile_id in (None, both.subject.profile_id)
        assert person.email in (None, both.subject.email)
