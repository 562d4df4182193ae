"""Converts a Python object one step toward JSON: to a scalar, a mapping or a list.

Limits, cycles and secrets are the cleaner's. Libraries that an app may not have (pydantic, attrs, numpy, Django) are
recognized by names and attributes of their types, never imported.
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
        conversion = _BY_TYPE.get(base) or _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        if conversion is not None:
            return conversion(value)
    return _collected(value)


def convert_or_keep(value: object) -> object:
    """The same, and the value itself if only the name of its type can be sent."""
    try:
        return convert(value)
    except NotConvertibleError:
        return value


def _collected(value: Any) -> object:
    kind = type(value)
    if issubclass(kind, Mapping):
        return dict(islice(value.items(), ITEMS + 1))
    # An iterator (a file, an upload, a cursor, a generator): what comes out is taken from somebody, and a generator
    # may be the response's body.
    taken = any(hasattr(kind, mark) for mark in ("__next__", "read", "fetchone"))
    if taken or not issubclass(kind, Iterable):
        raise NotConvertibleError
    return list(islice(value, ITEMS + 1))


def _refuse(_: object) -> object:
    raise NotConvertibleError


def _moment(value: datetime | date | time) -> str | None:
    """ISO 8601, UTC as `Z`. A naive time stays without a zone."""
    if value != value:  # noqa: PLR0124  (pandas' NaT: a datetime that, like NaN, does not equal itself)
        return None
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _decoded(value: bytes | bytearray | memoryview) -> str:
    """UTF-8 text. Other bytes, such as a digest or a picture, mean nothing in a property."""
    start = bytes(value[:_BYTES])
    try:
        return codecs.utf_8_decode(start, "strict", len(start) == len(value))[0]
    except UnicodeDecodeError:
        raise NotConvertibleError from None


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


def _pydantic_fields(value: Any) -> object:
    """As the model dumps itself: without excluded fields, a SecretStr as an object."""
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
    """The object inside a lazy one, if it was evaluated already: request.user must not cause a query."""
    inner = value.__dict__.get("_wrapped")
    if inner is None or type(inner) is object:  # Django's marker for "not evaluated yet"
        raise NotConvertibleError
    return inner


def _fetched(value: Any) -> object:
    """The rows of a QuerySet, if the app has fetched them already."""
    rows = value.__dict__.get("_result_cache")
    if rows is None:
        raise NotConvertibleError
    return rows[: ITEMS + 1]


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
        memoryview: _decoded,
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
        Enum: lambda member: member.value,
        IOBase: _refuse,
        type: _refuse,  # an Enum class would be a list of its members
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
