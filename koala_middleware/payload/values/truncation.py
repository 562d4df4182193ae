"""Cuts values whose JSON is too long.

Must only know values of JSON's own types, as `plain` returns them.
"""

from __future__ import annotations

from typing import Any

from koala_middleware.protocol.encoding import json_bytes

ENTRY_BYTES = 32 * 1024
TRUNCATED = "$truncated"

_LEAST = 256  # bytes: members that would be cut below this are left out
_SMALLEST = 8  # bytes that hold the cut form of anything: "…", [], {}, null
_MARK = len(f',"{TRUNCATED}":true')
_ELLIPSIS = "…"


def truncated(value: Any) -> Any:
    """The value cut to `ENTRY_BYTES` of JSON: the largest members first, small ones are kept whole.

    A mapping gets `"$truncated": true`.
    """
    if type(value) is dict:
        return {**_cut(value, ENTRY_BYTES - _MARK), TRUNCATED: True}
    return _cut(value, ENTRY_BYTES)


def truncate_text(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8; a text that was cut ends in "…"."""
    if len(text) * 4 <= limit:
        return text
    start = text[:limit].encode()
    if len(start) <= limit and len(text) <= limit:
        return text
    return start[: limit - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS


def valid_unicode(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced, so that UTF-8 can encode it."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _cut(value: Any, room: int) -> Any:
    if _size(value) <= room:
        return value
    if type(value) is dict:
        return _cut_mapping(value, room)
    if type(value) is list:
        return _cut_list(value, room)
    return _cut_text(value, room) if type(value) is str else None


def _cut_mapping(members: dict[str, Any], room: int) -> dict[str, Any]:
    """Every member gets the same share; what small members leave of theirs goes to the larger ones."""
    sizes = {name: _size(name) + _size(member) + 2 for name, member in members.items()}
    left, share, whole = room - 2, 0, 0
    ascending = sorted(sizes, key=sizes.__getitem__)
    for place, name in enumerate(ascending):
        share = left // (len(ascending) - place)
        if sizes[name] > share >= _LEAST:
            break
        if sizes[name] > left:
            return _select(members, ascending[:place])
        left -= sizes[name]
        whole = place + 1
    kept = _select(members, ascending[:whole])
    for name in ascending[whole:]:
        if (member_room := share - _size(name) - 2) >= _SMALLEST:
            kept[name] = _cut(members[name], member_room)
    return kept


def _select(members: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The members of these names, in their own order."""
    kept = frozenset(names)
    return {name: member for name, member in members.items() if name in kept}


def _cut_list(items: list[Any], room: int) -> list[Any]:
    """The first items: a list's order means something."""
    kept: list[Any] = []
    left = room - 2
    for item in items:
        size = _size(item) + 1
        if size > left:
            return [*kept, _cut(item, left - 1)] if left > _LEAST else kept
        kept.append(item)
        left -= size
    return kept


def _cut_text(text: str, room: int) -> str:
    """Cuts until the JSON fits: one character may take six bytes there."""
    while _size(text) > room and text != _ELLIPSIS:
        over = _size(text) / room
        text = truncate_text(text, max(int(len(text.encode()) / over * 0.95), 3))
    return text


def _size(value: object) -> int:
    return len(json_bytes(value))
