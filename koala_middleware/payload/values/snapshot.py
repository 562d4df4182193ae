"""Copies a value at the time of the call, so that later changes do not show."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any
from uuid import UUID

from koala_middleware.payload.values.conversions import ITEMS, convert_or_keep
from koala_middleware.protocol.limits import DATA_DEPTH

_MOST_COPIES = 10_000
_IMMUTABLE = frozenset(
    {str, int, bool, float, type(None), bytes, datetime, date, time, timedelta, Decimal, UUID}
)


def snapshot(value: object) -> Any:
    """A copy of the value. Never raises: what cannot be copied is kept.

    Containers are copied up to the limits of `plain`, with shared and cyclic references intact. Dataclasses, models
    and other objects that `plain` converts are converted here, once. Immutable values and iterators are kept.
    """
    try:
        if type(value) is dict and len(value) <= ITEMS:
            for item in value.values():
                if type(item) not in _IMMUTABLE:
                    break
            else:
                return value.copy()
    except Exception:  # noqa: BLE001, S110  (even hashing a type may raise; then the slow way)
        pass
    return _Copier().copy(value, DATA_DEPTH)


class _Copier:
    """Copies each container of one value once."""

    def __init__(self) -> None:
        # Original and copy by the original's id. Holding the original keeps its id from being reused.
        self._copies: dict[int, tuple[object, object]] = {}

    def copy(self, value: object, depth: int) -> object:
        """A copy; the value itself beyond the limits."""
        try:
            if type(value) in _IMMUTABLE:
                return value
            if id(value) in self._copies:
                return self._copies[id(value)][1]
            if depth == 0 or len(self._copies) >= _MOST_COPIES:
                return value
            return self._copy_container(value, depth - 1)
        except Exception:  # noqa: BLE001  (an object's own code may raise anything)
            return value

    def _copy_container(self, value: Any, depth: int) -> object:
        kind = type(value)
        if kind is dict:
            members: dict[object, object] = {}
            self._copies[id(value)] = value, members
            members.update((key, self.copy(item, depth)) for key, item in islice(value.items(), ITEMS + 1))
            return members
        if kind is list or kind is tuple or kind is set or kind is frozenset:
            items: list[object] = []
            self._copies[id(value)] = value, items
            items.extend(self.copy(item, depth) for item in islice(value, ITEMS + 1))
            return items
        converted = convert_or_keep(value)
        self._copies[id(value)] = value, converted
        return value if converted is value else self.copy(converted, depth)
