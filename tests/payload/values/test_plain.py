"""What `plain` says of Python's values, and that it says something of each."""

from __future__ import annotations

import csv
import io
import itertools
import json
import subprocess
import sys
import uuid
from array import array
from collections import ChainMap, Counter, OrderedDict, UserList, UserString, defaultdict, deque, namedtuple
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import ip_address, ip_network
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import attrs
import numpy as np
import pydantic
import pytest

from koala_middleware.payload.values.cleaner import TEXT_BYTES, plain
from koala_middleware.payload.values.conversions import ITEMS
from koala_middleware.payload.values.snapshot import snapshot
from koala_middleware.protocol.limits import DATA_DEPTH


class Plan(Enum):
    PRO = "pro"


class Tier(IntEnum):
    GOLD = 3


class Colour(StrEnum):
    RED = "red"


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


@dataclass
class Address:
    city: str
    tags: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Unfinished:
    city: str
    street: str = field(init=False)


class NotATime(datetime):
    """As pandas' NaT: a datetime that, like NaN, is not equal to itself."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__


class Lazy:
    """As an ORM's attribute that has not been loaded: looking at it on an object costs a query."""

    def __get__(self, instance: object, owner: type) -> object:
        if instance is not None:
            raise AssertionError("a query was made")
        return self


@dataclass
class Row:
    number: int
    kind: str = field(default="row", init=False)
    lines: Any = field(default=None, init=False)


Row.lines = Lazy()


@attrs.define
class Company:
    name: str
    seats: int


class Order(pydantic.BaseModel):
    total: Decimal
    note: str = pydantic.Field(default="", exclude=True)
    key: pydantic.SecretStr = pydantic.SecretStr("hidden")


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(None, None, id="None"),
        pytest.param(True, True, id="bool"),
        pytest.param(7, 7, id="int"),
        pytest.param(2**63, 2**63, id="an int unsafe in JavaScript stays an int"),
        pytest.param(-(10**30), -(10**30), id="a long negative int"),
        pytest.param(10**5000, "int", id="an int that Python refuses to write"),
        pytest.param(1.5, 1.5, id="float"),
        pytest.param(float("nan"), None, id="NaN"),
        pytest.param(float("-inf"), None, id="infinity"),
        pytest.param("Zoë 🐨", "Zoë 🐨", id="text"),
        pytest.param("a\ud800b", "a\ufffdb", id="a lone surrogate is replaced"),
        pytest.param("\ud83d\udc28", "🐨", id="a surrogate pair is joined"),
        pytest.param(Text("x"), "x", id="a subclass of str is what it holds"),
        pytest.param(b"caf\xc3\xa9", "café", id="bytes of text"),
        pytest.param(b"\xff\x00", "bytes", id="bytes of no text"),
        pytest.param(bytearray(b"a"), "a", id="bytearray"),
        pytest.param(memoryview(b"a"), "a", id="memoryview"),
        pytest.param(memoryview(array("i", [1, 2])), [1, 2], id="a memoryview of numbers"),
        pytest.param(UserString("x"), "x", id="UserString"),
        pytest.param(
            urlsplit("https://example.com/a?b=c"), "https://example.com/a?b=c", id="the parts of a URL"
        ),
        pytest.param(
            datetime(2023, 11, 30, 2, 51, 36, 840000, UTC), "2023-11-30T02:51:36.840000Z", id="datetime"
        ),
        pytest.param(
            datetime(2023, 11, 30, tzinfo=timezone(timedelta(hours=1))),
            "2023-11-30T00:00:00+01:00",
            id="a datetime elsewhere",
        ),
        pytest.param(NotATime(2023, 11, 30), None, id="a datetime that is none"),
        pytest.param(date(2023, 11, 30), "2023-11-30", id="date"),
        pytest.param(time(2, 51), "02:51:00", id="time"),
        pytest.param(timedelta(minutes=5), 300.0, id="timedelta in seconds"),
        pytest.param(Decimal("19.99"), 19.99, id="Decimal"),
        pytest.param(Decimal("sNaN"), "Decimal", id="a Decimal that signals"),
        pytest.param(Decimal("1e999"), None, id="a Decimal beyond floats"),
        pytest.param(Fraction(1, 4), 0.25, id="Fraction"),
        pytest.param(1j, "complex", id="complex"),
        pytest.param(
            uuid.UUID("3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"),
            "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba",
            id="UUID",
        ),
        pytest.param(Plan.PRO, "pro", id="Enum"),
        pytest.param(Tier.GOLD, 3, id="IntEnum"),
        pytest.param(Colour.RED, "red", id="StrEnum"),
        pytest.param(Plan, "EnumType", id="an Enum class"),
        pytest.param(Path("/srv/a"), "/srv/a", id="Path"),
        pytest.param(PureWindowsPath("c:/a"), "c:\\a", id="a Windows path"),
        pytest.param(ip_address("::1"), "::1", id="IP address"),
        pytest.param(ip_network("10.0.0.0/8"), "10.0.0.0/8", id="IP network"),
        pytest.param((1, "a"), [1, "a"], id="tuple"),
        pytest.param(Point(1, 2), {"x": 1, "y": 2}, id="namedtuple"),
        pytest.param({1}, [1], id="set"),
        pytest.param(frozenset({1}), [1], id="frozenset"),
        pytest.param(deque([1]), [1], id="deque"),
        pytest.param(range(3), [0, 1, 2], id="range"),
        pytest.param({"a": 1}.items(), [["a", 1]], id="a dict's items"),
        pytest.param({"a": 1}.keys(), ["a"], id="a dict's keys"),
        pytest.param({"a": 1}.values(), [1], id="a dict's values"),
        pytest.param(Counter("aab"), {"a": 2, "b": 1}, id="Counter"),
        pytest.param(OrderedDict(a=1), {"a": 1}, id="OrderedDict"),
        pytest.param(defaultdict(list, a=[1]), {"a": [1]}, id="defaultdict"),
        pytest.param(MappingProxyType({"a": 1}), {"a": 1}, id="mappingproxy"),
        pytest.param(ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}, id="any Mapping"),
        pytest.param(Address("London", ["home"]), {"city": "London", "tags": ["home"]}, id="dataclass"),
        pytest.param(Unfinished("London"), {"city": "London"}, id="a dataclass not filled yet"),
        pytest.param(
            Row(7), {"number": 7, "kind": "row"}, id="a dataclass whose lazy field is not looked at"
        ),
        pytest.param(Company("Acme", 3), {"name": "Acme", "seats": 3}, id="attrs"),
        pytest.param(
            Order(total=Decimal("1.5"), note="x"),
            {"total": 1.5, "key": "SecretStr"},
            id="pydantic, less what it excludes",
        ),
        pytest.param(np.float32(0.5), 0.5, id="numpy float32"),
        pytest.param(np.longdouble(0.5), 0.5, id="numpy longdouble"),
        pytest.param(np.float64("nan"), None, id="numpy NaN"),
        pytest.param(np.int64(7), 7, id="numpy int64"),
        pytest.param(np.bool_(True), True, id="numpy bool"),
        pytest.param(np.str_("a"), "a", id="numpy str"),
        pytest.param(
            np.datetime64("2023-11-30T00:00:00.000000001"), "2023-11-30T00:00:00.000000001", id="datetime64"
        ),
        pytest.param(np.datetime64("NaT", "s"), None, id="NaT"),
        pytest.param(np.timedelta64(1500, "ms"), 1.5, id="timedelta64"),
        pytest.param(np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]], id="numpy array"),
        pytest.param(object(), "object", id="an object with nothing to say"),
        pytest.param(print, "builtin_function_or_method", id="a function"),
        pytest.param(io.StringIO("x"), "StringIO", id="a file is not read"),
    ],
)
def test_each_kind_of_value_has_its_json(value: object, said: object) -> None:
    assert plain(value) == said
    assert json.loads(json.dumps(plain({"here": value}), allow_nan=False)) == {"here": said}


@pytest.mark.parametrize(
    "iterator",
    [
        pytest.param((number for number in (1, 2)), id="generator"),
        pytest.param(map(int, "12"), id="map"),
        pytest.param(iter([1, 2]), id="list_iterator"),
        pytest.param(csv.reader(["1", "2"]), id="reader"),
    ],
)
def test_an_iterator_is_not_used_up_and_is_said_by_its_types_name(
    iterator: Iterator[object], request: pytest.FixtureRequest
) -> None:
    """It is the handler's: what we took of it would be missing there, perhaps in the response."""
    kept = snapshot({"rows": iterator})
    assert plain(kept) == {"rows": request.node.callspec.id}
    assert len(list(iterator)) == 2


@pytest.mark.parametrize(
    ("key", "name"),
    [
        pytest.param("a", "a", id="text"),
        pytest.param(None, "null", id="None, as json.dumps has it"),
        pytest.param(True, "true", id="bool"),
        pytest.param(1, "1", id="int"),
        pytest.param(1.5, "1.5", id="float"),
        pytest.param((1, "b"), "1,b", id="tuple"),
        pytest.param(Plan.PRO, "pro", id="Enum"),
        pytest.param(date(2023, 11, 30), "2023-11-30", id="date"),
        pytest.param("\ud800", "\ufffd", id="a lone surrogate"),
        pytest.param(frozenset({1}), "frozenset", id="anything else by its type's name"),
    ],
)
def test_keys_become_text(key: object, name: str) -> None:
    assert plain({key: 1}) == {name: 1}


class Hostile:
    """Raises whatever is asked of it, its class included."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError

    @__class__.setter
    def __class__(self, _: Any) -> None: ...

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__

    def __iter__(self) -> Iterator[object]:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError

    def __eq__(self, _: object) -> bool:
        raise RuntimeError

    __hash__ = object.__hash__


class Endless(Sequence[int]):
    def __iter__(self) -> Iterator[int]:
        return itertools.count()

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: object) -> Any:
        return index


class HostileDict(dict[str, object]):
    def items(self) -> Any:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


class HostileMeta(type):
    def __hash__(cls) -> int:
        raise RuntimeError

    @property
    def __name__(cls) -> str:  # type: ignore[override]  # hostile on purpose
        raise RuntimeError

    @property
    def __mro__(cls) -> Any:
        raise RuntimeError


class Unlookable(metaclass=HostileMeta):
    pass


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        pytest.param(Hostile(), "Hostile", id="raises at every touch"),
        pytest.param(HostileDict(a=1), "HostileDict", id="a dict that raises"),
        pytest.param(Unlookable(), "Unlookable", id="a type that raises"),
    ],
)
def test_a_hostile_value_says_its_types_name_and_its_neighbours_are_unharmed(
    hostile: object, said: str
) -> None:
    assert plain({"bad": hostile, "good": 1, "list": [hostile, 2]}) == {
        "bad": said,
        "good": 1,
        "list": [said, 2],
    }


def test_an_endless_sequence_is_cut_and_the_whole_is_marked() -> None:
    assert plain({"numbers": Endless()}) == {"numbers": list(range(ITEMS)), "$truncated": True}


def test_a_cycle_says_the_types_name_where_it_closes() -> None:
    mine: dict[str, object] = {"a": 1}
    mine["me"] = mine
    mine["list"] = [mine]
    assert plain(mine) == {"a": 1, "me": "dict", "list": ["dict"]}


def test_a_cycle_through_objects_is_cut_too() -> None:
    @dataclass
    class Node:
        next: object = None

    node = Node()
    node.next = node
    assert plain(node) == {"next": "Node"}


def test_the_same_value_twice_is_no_cycle() -> None:
    shared = {"a": 1}
    assert plain([shared, shared]) == [{"a": 1}, {"a": 1}]


def test_five_thousand_levels_are_cut() -> None:
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]
    assert json.dumps(plain(deep)) == "[" * DATA_DEPTH + '"list"' + "]" * DATA_DEPTH


def test_values_that_multiply_by_sharing_are_bounded() -> None:
    """Ten levels of ten references to the level below are ten thousand million values."""
    bomb: list[object] = ["boom"]
    for _ in range(10):
        bomb = [bomb] * 10
    said = plain({"bomb": bomb, "small": 1})
    assert len(json.dumps(said)) < 1_000_000
    assert said["small"] == 1
    assert said["$truncated"] is True


def test_a_deep_big_value_leaves_room_for_the_small_ones_after_it() -> None:
    said = plain({"big": [["x" * 200] * 900] * 900, "address": {"city": "London"}})
    assert said["address"] == {"city": "London"}


def test_a_long_text_is_cut_at_8_kib_of_utf8() -> None:
    ascii_text, koalas = plain(["a" * 5_000_000, "🐨" * 5_000_000])
    assert ascii_text == "a" * (TEXT_BYTES - 3) + "…"
    assert len(koalas.encode()) <= TEXT_BYTES
    assert koalas == "🐨" * (len(koalas) - 1) + "…"


@pytest.mark.parametrize("length", [TEXT_BYTES - 1, TEXT_BYTES])
def test_a_text_that_just_fits_stays_whole(length: int) -> None:
    assert plain("a" * length) == "a" * length


def test_a_thousand_long_texts_do_not_take_a_thousand_times_8_kib() -> None:
    assert len(json.dumps(plain(["a" * TEXT_BYTES] * ITEMS))) < 400_000


def test_a_mapping_that_changes_while_it_is_read_keeps_what_was_read() -> None:
    changing: dict[str, object] = {"a": 1}

    class Meddler(UserList[int]):
        def __iter__(self) -> Iterator[int]:
            changing["b"] = 2
            return iter([1])

    changing["meddler"] = Meddler()
    assert plain({"outer": changing}) == {"outer": {"a": 1, "meddler": [1]}, "$truncated": True}


def test_optional_libraries_are_recognised_without_being_imported() -> None:
    code = (
        "import sys\nfrom koala_middleware.payload.values.cleaner import plain\n"
        "from koala_middleware.payload.scrub.scrubber import scrub\n"
        "plain({'a': [object()]}); scrub({'a': 1});"
        "print([name for name in ('numpy', 'pydantic', 'attr', 'django') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_keys_that_become_one_name_mark_the_whole() -> None:
    assert plain({1: "a", "1": "b"}) == {"1": "b", "$truncated": True}
