"""What a Python object says of itself in JSON: one step nearer to text, numbers, mappings and lists.

Knows nothing of limits, cycles or secrets; values.py walks and guards. Libraries that an app may not have
(pydantic, attrs, numpy, Django) are recognised by the names and marks of their types, never imported.
"""

from __future__ import annotations

import codecs
import dataclasses
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from io import IOBase
from itertools import islice
from pathlib import PurePath
from types import MappingProxyType, MemberDescriptorType
from typing import Any
from uuid import UUID

ITEMS = 1_000  # of one mapping or list; what lies beyond is left out
BYTES = 16 * 1024  # of one bytes value; text is cut below this anyway

_MISSING = object()


class UnsayableError(Exception):
    """The value has no meaning in JSON, or telling it would touch a file, a database or a connection."""


def converted(value: object) -> object:
    """One step nearer to JSON: a scalar, or a mapping or list of at most `ITEMS` + 1 members.

    Runs the value's own code (a property, an `__iter__`), so anything may be raised.

    Raises:
        UnsayableError: there is nothing to say but the type's name.
    """
    kind = type(value)
    if (say := _BY_TYPE.get(kind)) is not None:
        return say(value)
    for mark, fields in _BY_MARK.items():
        if hasattr(kind, mark):
            return fields(value)
    for base in kind.__mro__:
        say = _BY_TYPE.get(base) or _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        if say is not None:
            return say(value)
    return _collected(value)


def settled(value: object) -> object:
    """The same as of now, for objects that may change or depend on the moment; others come back untouched.

    Fields, collections, a model's key and a lazy text's language are read now.
    """
    try:
        return converted(value)
    except UnsayableError:
        return value


def _collected(value: Any) -> object:
    kind = type(value)
    if issubclass(kind, Mapping):
        return dict(islice(value.items(), ITEMS + 1))
    # An iterator (a file, an upload, a cursor, a generator): what comes out is taken from somebody, and a generator
    # may be the response's body.
    taken = any(hasattr(kind, mark) for mark in ("__next__", "read", "fetchone"))
    if taken or not issubclass(kind, Iterable):
        raise UnsayableError
    return list(islice(value, ITEMS + 1))


def _unsayable(_: object) -> object:
    raise UnsayableError


def _moment(value: datetime | date | time) -> str | None:
    """ISO 8601; UTC as `Z`. A naive time stays without a zone: nothing here knows which one it was."""
    if value != value:  # noqa: PLR0124  (pandas' NaT is a datetime, and like NaN not equal to itself)
        return None
    said = value.isoformat()
    return said[:-6] + "Z" if said.endswith("+00:00") else said


def _decoded(value: bytes | bytearray | memoryview) -> str:
    """UTF-8 text is said, anything else is not: a digest or a picture means nothing in a property."""
    start = bytes(value[:BYTES])
    try:
        return codecs.utf_8_decode(start, "strict", len(start) == len(value))[0]
    except UnicodeDecodeError:
        raise UnsayableError from None


def _dataclass_fields(value: Any) -> dict[str, object]:
    return _attributes(value, (field.name for field in dataclasses.fields(value)))


def _attrs_fields(value: Any) -> dict[str, object]:
    return _attributes(value, (field.name for field in type(value).__attrs_attrs__))


def _struct_fields(value: Any) -> dict[str, object]:
    return _attributes(value, type(value).__struct_fields__)


def _attributes(value: object, names: Iterable[str]) -> dict[str, object]:
    found = ((name, _held(value, name)) for name in islice(names, ITEMS + 1))
    return {name: item for name, item in found if item is not _MISSING}


def _held(value: object, name: str) -> object:
    """What the object itself holds. No property runs: an ORM's would fetch what it has not loaded."""
    held = getattr(value, "__dict__", {})
    if name in held:
        return held[name]
    of_class = getattr(type(value), name, _MISSING)
    if isinstance(of_class, MemberDescriptorType):  # a slot
        return getattr(value, name, _MISSING)
    return _MISSING if hasattr(type(of_class), "__get__") else of_class


def _pydantic_fields(value: Any) -> object:
    """What the model itself would say: its excluded fields stay out, a SecretStr stays an object."""
    return value.model_dump(warnings=False)


def _numpy_scalar(value: Any) -> object:
    if value.dtype.kind == "M":  # datetime64: `item()` of a nanosecond time would be a bare number
        return None if value != value else str(value)  # noqa: PLR0124  (NaT)
    if value.dtype.kind == "m":
        return None if value != value else value.astype("timedelta64[us]").item()  # noqa: PLR0124
    if value.dtype.kind == "f":  # also float128, whose `item()` is itself
        return float(value)
    return value.item()


def _evaluated(value: Any) -> object:
    """A lazy object's inner one, where it is there already: request.user must not cost a query here."""
    inner = value.__dict__.get("_wrapped")
    if inner is None or type(inner) is object:  # Django's marker for "not evaluated yet"
        raise UnsayableError
    return inner


def _fetched(value: Any) -> object:
    """The rows of a QuerySet that the app itself has fetched."""
    rows = value.__dict__.get("_result_cache")
    if rows is None:
        raise UnsayableError
    return rows[: ITEMS + 1]


_BY_MARK: Mapping[str, Callable[[Any], object]] = MappingProxyType(
    {
        "__dataclass_fields__": _dataclass_fields,
        "__attrs_attrs__": _attrs_fields,
        "__struct_fields__": _struct_fields,  # msgspec
    }
)

_BY_TYPE: Mapping[type, Callable[[Any], object]] = MappingProxyType(
    {
        # Subclasses say what they are at heart, whatever their own __str__ or __int__ would.
        str: str.__str__,
        int: int.__pos__,
        float: float.__pos__,
        bytes: _decoded,
        bytearray: _decoded,
        memoryview: _decoded,
        datetime: _moment,
        date: _moment,
        time: _moment,
        timedelta: timedelta.total_seconds,
        Decimal: float,
        Fraction: float,
        complex: _unsayable,
        UUID: str,
        PurePath: str,
        ipaddress.IPv4Address: str,
        ipaddress.IPv6Address: str,
        ipaddress.IPv4Network: str,
        ipaddress.IPv6Network: str,
        ipaddress.IPv4Interface: str,
        ipaddress.IPv6Interface: str,
        Enum: lambda member: member.value,
        IOBase: _unsayable,
        type: _unsayable,  # an Enum class would list its members, others nothing
    }
)

_BY_NAME: Mapping[str, Callable[[Any], object]] = MappingProxyType(
    {
        "pydantic.main.BaseModel": _pydantic_fields,
        "numpy.generic": _numpy_scalar,
        "django.utils.functional.Promise": str,
        "django.utils.functional.LazyObject": _evaluated,
        "django.db.models.base.Model": lambda model: model.pk,
        "django.db.models.query.QuerySet": _fetched,
    }
)
