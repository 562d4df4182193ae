"""How a value whose JSON is too long is cut to fit.

Knows plain values only: what `values.plain` returns.
"""

from __future__ import annotations

from typing import Any

from koala_middleware.protocol.encoding import json_bytes

ENTRY_BYTES = 32 * 1024
TRUNCATED = "$truncated"

_LEAST = 256  # bytes: what would be cut shorter than this is left out instead
_SMALLEST = 8  # bytes that hold the cut form of anything: "…", [], {}, null
_MARK = len(f',"{TRUNCATED}":true')
_ELLIPSIS = "…"


def fitted(value: Any) -> Any:
    """The value cut to `ENTRY_BYTES`: the largest members first, the small ones untouched.

    A mapping is marked with `"$truncated": true`.
    """
    if type(value) is dict:
        return {**_fitted(value, ENTRY_BYTES - _MARK), TRUNCATED: True}
    return _fitted(value, ENTRY_BYTES)


def cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8; a text that loses something ends in "…"."""
    if len(text) * 4 <= limit:
        return text
    start = text[:limit].encode()
    if len(start) <= limit and len(text) <= limit:
        return text
    return start[: limit - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS


def _fitted(value: Any, room: int) -> Any:
    if _size(value) <= room:
        return value
    if type(value) is dict:
        return _fitted_mapping(value, room)
    if type(value) is list:
        return _fitted_list(value, room)
    return _fitted_text(value, room) if type(value) is str else None


def _fitted_mapping(members: dict[str, Any], room: int) -> dict[str, Any]:
    """Every member gets the same share, and what the small ones leave of theirs goes to the larger ones."""
    sizes = {name: _size(name) + _size(member) + 2 for name, member in members.items()}
    left, share, fitting = room - 2, 0, 0
    ascending = sorted(sizes, key=sizes.__getitem__)
    for place, name in enumerate(ascending):
        share = left // (len(ascending) - place)
        if sizes[name] > share >= _LEAST:
            break
        if sizes[name] > left:
            return _kept(members, ascending[:place])
        left -= sizes[name]
        fitting = place + 1
    kept = _kept(members, ascending[:fitting])
    for name in ascending[fitting:]:
        if (member_room := share - _size(name) - 2) >= _SMALLEST:
            kept[name] = _fitted(members[name], member_room)
    return kept


def _kept(members: dict[str, Any], names: list[str]) -> dict[str, Any]:
    kept = frozenset(names)
    return {name: member for name, member in members.items() if name in kept}


def _fitted_list(items: list[Any], room: int) -> list[Any]:
    """The order of a list means something, so it is the tail that goes."""
    kept: list[Any] = []
    left = room - 2
    for item in items:
        size = _size(item) + 1
        if size > left:
            return [*kept, _fitted(item, left - 1)] if left > _LEAST else kept
        kept.append(item)
        left -= size
    return kept


def _fitted_text(text: str, room: int) -> str:
    """Shortened until its JSON fits: one character may take six bytes there, so a cut is tried and tried."""
    while _size(text) > room and text != _ELLIPSIS:
        over = _size(text) / room
        text = cut(text, max(int(len(text.encode()) / over * 0.95), 3))
    return text


def _size(value: object) -> int:
    return len(json_bytes(value))
