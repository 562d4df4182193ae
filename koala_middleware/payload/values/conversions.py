"""Converts a Python object one step toward JSON: to a scalar, a mapping or a list.

Must not know limits, cycles or secrets, which are the cleaner's. Reads only values that the object holds: it never
consumes an iterator, runs a query or opens a connection. So the types that count as containers are known ones.
"""

from __future__ import annotations

import codecs
import dataclasses
import ipaddress
from collections import UserString
from collections.abc import Callable, Iterable, Mapping, Sequence, Set, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from io import IOBase
from itertools import islice
from pathlib import PurePath
from types import MappingProxyType, MemberDescriptorType
from typing import Any
from urllib.parse import ParseResult, SplitResult
from uuid import UUID

from koala_middleware.payload.values import library_types

ITEMS = 1_000  # of one mapping or list; more are left out
_BYTES = 16 * 1024  # of one bytes value that are decoded; texts are cut below this anyway

_MISSING = object()


class NotConvertibleError(Exception):
    """The value means nothing in JSON, or reading it would touch a file, a database or a connection."""


def convert(value: object) -> object:
    """A scalar, or a mapping or list of at most `ITEMS` + 1 members.

    Runs the value's own code, so it may raise anything.

    Raises:
        NotConvertibleError: only the name of the type can be sent.
    """
    kind = type(value)
    if (conversion := _BY_TYPE.get(kind)) is not None:
        return conversion(value)
    for attribute, fields in _BY_ATTRIBUTE.items():
        if hasattr(kind, attribute):
            return fields(value)
    for base in kind.__mro__:
        conversion = _BY_TYPE.get(base) or library_types.conversion(base)
        if conversion is not None:
            converted = conversion(value)
            if converted is library_types.REFUSED:
                raise NotConvertibleError
            return converted
    return _container(value)


def convert_or_keep(value: object) -> object:
    """The same, and the value itself if only the name of its type can be sent."""
    try:
        return convert(value)
    except NotConvertibleError:
        return value


def _container(value: Any) -> object:
    """The members of a container. Having `__iter__` is not enough: uploads, queries and responses have it, too."""
    kind = type(value)
    if issubclass(kind, Mapping):
        return dict(islice(value.items(), ITEMS + 1))
    if issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        return dict(zip(kind._fields, value, strict=False))  # type: ignore[attr-defined]  # a namedtuple
    if issubclass(kind, Sequence | Set | ValuesView):
        return list(islice(value, ITEMS + 1))
    raise NotConvertibleError


def _refuse(_: object) -> object:
    raise NotConvertibleError


def _moment(value: datetime | date | time) -> str | None:
    """ISO 8601, UTC as `Z`. A naive time stays without a zone."""
    if value != value:  # noqa: PLR0124  (pandas' NaT: a datetime that, like NaN, does not equal itself)
        return None
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _decoded(value: bytes | bytearray) -> str:
    """UTF-8 text. Other bytes, such as a digest or a picture, mean nothing in a property."""
    start = bytes(value[:_BYTES])
    try:
        return codecs.utf_8_decode(start, "strict", len(start) == len(value))[0]
    except UnicodeDecodeError:
        raise NotConvertibleError from None


def _memory_view(value: memoryview) -> object:
    """A view of bytes is text; a view of numbers is a list of them."""
    if value.format in {"B", "b", "c"}:
        return _decoded(value.tobytes() if value.nbytes <= _BYTES else bytes(value[:_BYTES]))
    if value.ndim != 1:
        raise NotConvertibleError
    return value[: ITEMS + 1].tolist()


def _dataclass_fields(value: Any) -> dict[str, object]:
    return _attributes(value, (field.name for field in dataclasses.fields(value)))


def _attrs_fields(value: Any) -> dict[str, object]:
    return _attributes(value, (field.name for field in type(value).__attrs_attrs__))


def _struct_fields(value: Any) -> dict[str, object]:
    return _attributes(value, type(value).__struct_fields__)


def _attributes(value: object, names: Iterable[str]) -> dict[str, object]:
    found = ((name, _own_attribute(value, name)) for name in islice(names, ITEMS + 1))
    return {name: item for name, item in found if item is not _MISSING}


def _own_attribute(value: object, name: str) -> object:
    """The attribute without running a property: an ORM's would query the database."""
    own = getattr(value, "__dict__", {})
    if name in own:
        return own[name]
    of_class = getattr(type(value), name, _MISSING)
    if isinstance(of_class, MemberDescriptorType):  # a slot
        return getattr(value, name, _MISSING)
    return _MISSING if hasattr(type(of_class), "__get__") else of_class


_BY_ATTRIBUTE: Mapping[str, Callable[[Any], object]] = MappingProxyType(
    {
        "__dataclass_fields__": _dataclass_fields,
        "__attrs_attrs__": _attrs_fields,
        "__struct_fields__": _struct_fields,  # msgspec
    }
)

_BY_TYPE: Mapping[type, Callable[[Any], object]] = MappingProxyType(
    {
        # A subclass counts as its base, whatever its own __str__ or __int__ returns.
        str: str.__str__,
        int: int.__pos__,
        float: float.__pos__,
        bytes: _decoded,
        bytearray: _decoded,
        memoryview: _memory_view,
        UserString: lambda text: text.data,
        datetime: _moment,
        date: _moment,
        time: _moment,
        timedelta: timedelta.total_seconds,
        Decimal: float,
        Fraction: float,
        complex: _refuse,
        UUID: str,
        PurePath: str,
        ipaddress.IPv4Address: str,
        ipaddress.IPv6Address: str,
        ipaddress.IPv4Network: str,
        ipaddress.IPv6Network: str,
        ipaddress.IPv4Interface: str,
        ipaddress.IPv6Interface: str,
        # As text, so that a password in it is recognized.
        SplitResult: SplitResult.geturl,
        ParseResult: ParseResult.geturl,
        Enum: lambda member: member.value,
        IOBase: _refuse,
        type: _refuse,  # an Enum class would be a list of its members
    }
)
