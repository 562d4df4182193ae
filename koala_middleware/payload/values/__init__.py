"""Python values as JSON: total, bounded, and silent about what it cannot say.

Whatever comes in, something valid comes out and nothing is raised. Knows nothing of entries or people, nor
which values are secret: scrub.py lends its eyes to the same walk.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from json.encoder import encode_basestring
from typing import Any, Literal
from uuid import UUID

from koala_middleware.payload.values.conversions import ITEMS, converted, settled
from koala_middleware.payload.values.fitting import ENTRY_BYTES, TRUNCATED, cut, fitted
from koala_middleware.protocol.encoding import json_bytes

TEXT_BYTES = 8 * 1024  # of one text in UTF-8
DEPTH = 32  # levels; a mapping or list below that says only its type's name
ROOM = 256 * 1024  # characters, roughly, of one whole value: eight entries' worth, so the choice is to_json's

MASK = "[scrubbed]"

# The interpreter refuses to write longer numbers where it is set as strict as can be (640 digits).
_LONGEST_INT = 2_125  # bits
_LONG_TEXT = 256
_LEAST_TEXT = 64  # bytes a text still gets when the room is used up
_ITEM_ROOM = 16
_COPIES = 10_000
_LONGEST_NAME = 256
_REMEMBERED_NAMES = 4_096
_LONGEST_REMEMBERED_NAME = 64
_CARD_DIGITS_FROM = 10**12
_FEW = 64  # members

# What nobody can change after the call.
_ATOMS = frozenset({str, int, bool, float, type(None), bytes, datetime, date, time, timedelta, Decimal, UUID})

_type_name = type.__dict__["__name__"].__get__  # no metaclass can stand in its way


def snapshot(value: object) -> Any:
    """The value as it is now, for the price of a copy: what the caller changes afterwards does not show.

    Containers are copied to any shape, cycles included, up to the limits of `plain`; dataclasses, models and
    other objects that `plain` can say are read once, here; atoms and iterators are kept as they are.
    Never raises: what cannot be copied is kept itself.
    """
    try:
        if type(value) is dict and len(value) <= ITEMS:
            for item in value.values():
                if type(item) not in _ATOMS:
                    break
            else:
                return value.copy()
    except Exception:  # noqa: BLE001, S110  (a type may refuse even to be looked up; slowly, then)
        pass
    return _Copies().of(value, DEPTH)


def to_json(value: object) -> bytes:
    """A plain value in compact UTF-8, in at most 32 KiB. Never raises: what is not plain is made so.

    Over the limit the largest values are cut or left out first; a mapping then holds `"$truncated": true`.
    """
    try:
        body = json_bytes(value)
    except Exception:  # noqa: BLE001  (not plain after all)
        value = plain(value)
        body = json_bytes(value)
    return body if len(body) <= ENTRY_BYTES else json_bytes(fitted(plain(value)))


# What a name says of its value. None: nothing, so texts are looked through.
Verdict = Literal["secret", "secret but for numbers"] | None


class Names(dict[str, tuple[str, Verdict, str]]):
    """What is known of property names: the clean name, the verdict on the value, and `"name":`, which is empty where
    there is something to change.

    Property names are few, so they are judged once and remembered; those that are no mere names are not.
    """

    def __missing__(self, name: str) -> tuple[str, Verdict, str]:
        clean = self.clean(name)
        verdict = self.verdict(clean)
        if clean != name or len(name) > _LONGEST_REMEMBERED_NAME:
            return clean, verdict, ""
        if len(self) >= _REMEMBERED_NAMES:
            self.clear()
        self[name] = known = (clean, verdict, f"{encode_basestring(name)}:" if verdict is None else "")
        return known

    def clean(self, name: str) -> str:
        return cut(_valid(name[:_LONGEST_NAME]), _LONGEST_NAME)

    def verdict(self, name: str) -> Verdict:  # noqa: ARG002  (without scrubbing nothing is secret)
        return None


class Clean:
    """What makes any value plain, by being called: `plain`, or `scrub`, which masks secrets as well.

    Args:
        names: Judge the mappings' members.
        text, number: May replace what they are given by something else that is plain.
    """

    __slots__ = ("_names", "_number", "_text")

    def __init__(self, names: Names, text: Callable[[str], str], number: Callable[[int], object]) -> None:
        self._names = names
        self._text = text
        self._number = number

    def __call__(self, value: object) -> Any:
        """The value in what JSON knows: None, bool, int, finite float, str, list, dict with str keys.

        Texts are cut at `TEXT_BYTES` and end in "…"; containers at `ITEMS` members, `DEPTH` levels and `ROOM` in
        all, and then the outermost mapping holds `"$truncated": true`. NaN and infinities become None; what
        cannot be said, a cycle included, becomes its type's name. Never raises.
        """
        return Walk(self._names, self._text, self._number).over(value)

    def flat(self, members: object) -> str | None:
        """The same, in JSON, of a few short texts and numbers with nothing to hide, as most mappings are; None of
        everything else. Worth a third of an entry: no walk, no copy, and no encoder to be set going."""
        if type(members) is not dict or len(members) > _FEW:
            return None
        names, text = self._names, self._text
        written: list[str] = []
        for key, item in members.items():
            name = names[key][2] if type(key) is str else ""
            kind = type(item)
            if not name:
                return None
            if kind is str and len(item) <= _LONG_TEXT and item.isascii():
                written.append(f"{name}{encode_basestring(text(item))}")
            elif (kind is int and -1 <= item < _CARD_DIGITS_FROM) or (kind is float and item - item == 0.0):
                written.append(f"{name}{item}")
            elif kind is bool or item is None:
                written.append(name + _CONSTANTS[item])
            else:
                return None
        return f"{{{','.join(written)}}}"


class _Copies:
    """The copies made in one snapshot: each container once, so that shape and cycles stay what they are."""

    def __init__(self) -> None:
        # By id, and with the original, since an id is somebody else's as soon as its owner is gone.
        self._made: dict[int, tuple[object, object]] = {}

    def of(self, value: object, depth: int) -> object:
        """The value's copy; the value itself where `plain` would not look further either."""
        try:
            if type(value) in _ATOMS:
                return value
            if id(value) in self._made:
                return self._made[id(value)][1]
            if depth == 0 or len(self._made) >= _COPIES:
                return value
            return self._copied(value, depth - 1)
        except Exception:  # noqa: BLE001  (any object's own code may have run)
            return value

    def _copied(self, value: Any, depth: int) -> object:
        kind = type(value)
        if kind is dict:
            members: dict[object, object] = {}
            self._made[id(value)] = value, members
            members.update((key, self.of(item, depth)) for key, item in islice(value.items(), ITEMS + 1))
            return members
        if kind is list or kind is tuple or kind is set or kind is frozenset:
            items: list[object] = []
            self._made[id(value)] = value, items
            items.extend(self.of(item, depth) for item in islice(value, ITEMS + 1))
            return items
        now = settled(value)
        self._made[id(value)] = value, now
        return value if now is value else self.of(now, depth)


# The ids of the containers around a value, outermost first.
_Above = tuple[int, ...]


class Walk:
    """One walk over one value, level by level, so that what lies deepest is the first to find no room."""

    __slots__ = ("_names", "_number", "_room", "_text", "_truncated", "_waiting")

    def __init__(self, names: Names, text: Callable[[str], str], number: Callable[[int], object]) -> None:
        self._names = names
        self._text = text
        self._number = number
        self._room = ROOM
        self._truncated = False
        self._waiting: list[tuple[Any, Any, _Above]] = []

    def over(self, value: object) -> Any:
        said = self._said(value, ())
        for source, target, above in self._waiting:  # grows meanwhile
            if self._room <= 0:
                self._truncated = True
                break
            members = source if len(source) <= ITEMS else self._first(source)
            try:
                if type(target) is dict:
                    self._fill(members, target, above)
                else:
                    target.extend([self._said(item, above) for item in members])
            except Exception:  # noqa: BLE001  (changed by another thread meanwhile, as built-in containers can be)
                self._truncated = True
            self._room -= _ITEM_ROOM * len(target)
        if self._truncated and type(said) is dict:
            said[TRUNCATED] = True
        return said

    def _first(self, source: Any) -> Any:
        self._truncated = True
        return dict(islice(source.items(), ITEMS)) if type(source) is dict else list(islice(source, ITEMS))

    def _fill(self, source: dict[Any, Any], target: dict[str, Any], above: _Above) -> None:
        names, text, said = self._names, self._text, self._said
        for key, item in source.items():
            name, verdict, _ = names[key] if type(key) is str else self._named(key)
            if verdict is not None:
                target[name] = self._judged(item, verdict, above)
            elif type(item) is str and len(item) <= _LONG_TEXT and item.isascii():
                target[name] = text(item)
            else:
                target[name] = said(item, above)

    def _judged(self, item: Any, verdict: Verdict, above: _Above) -> Any:
        kind = type(item)
        if item is None or kind is bool:  # "has a password" is no password
            return item
        if verdict == "secret but for numbers" and (kind is int or kind is float):
            return self._said(item, above)
        return MASK

    def _said(self, value: Any, above: _Above) -> Any:  # noqa: PLR0911  (one line a type, the commonest first)
        kind = type(value)
        if kind is dict:
            return self._later(value, {}, above)
        if kind is str:
            return self._text(value) if len(value) <= _LONG_TEXT and value.isascii() else self._long(value)
        if kind is bool or value is None:
            return value
        if kind is int:
            return value if -1 <= value < _CARD_DIGITS_FROM else self._large(value)
        if kind is float:
            return value if value - value == 0.0 else None
        if kind is list or kind is tuple or kind is set or kind is frozenset:
            return self._later(value, [], above)
        return self._converted(value, above)

    def _later(self, source: Any, target: Any, above: _Above) -> Any:
        """The target, to be filled later; the type's name for a cycle and for what lies too deep."""
        own = id(source)
        if own in above or len(above) >= DEPTH:
            return type(source).__name__
        if source:
            self._waiting.append((source, target, (*above, own)))
        return target

    def _converted(self, value: object, above: _Above) -> Any:
        own = id(value)
        if own not in above and len(above) < DEPTH:
            try:
                return self._said(converted(value), (*above, own))
            except Exception:  # noqa: BLE001, S110  (whatever its own code raised, the name is left to say)
                pass
        return self._long(_type_name(type(value)))

    def _large(self, value: int) -> object:
        return self._number(value) if value.bit_length() <= _LONGEST_INT else "int"

    def _long(self, value: str) -> str:
        """Long or not ASCII: cut, made valid, and looked through for more than is kept.

        A secret across the very end of what is looked at would show its beginning, so the end is not kept.
        """
        limit = TEXT_BYTES if self._room > 0 else _LEAST_TEXT
        start = self._text(_valid(value[: 2 * limit]))
        if len(value) > 2 * limit:
            start = start[: -limit // 8] + "…"
        kept = cut(start, limit)
        self._room -= len(kept)
        return kept

    def _named(self, key: object) -> tuple[str, Verdict, str]:
        """A key that is no str: scalars as JSON writes them, tuples joined by commas."""
        parts = key if type(key) is tuple else (key,)
        return self._names[",".join(self._key_text(part) for part in islice(parts, _LEAST_TEXT))]

    def _key_text(self, key: object) -> str:
        said = self._said(key, _NO_CONTAINER)
        if type(said) is str:
            return said
        if type(said) is bool or said is None:
            return _CONSTANTS[said]
        return str(said) if type(said) in _NUMBERS else _type_name(type(key))


_NO_CONTAINER = (0,) * (DEPTH - 1)  # a key: no room below it but for one conversion
_NUMBERS = frozenset({int, float})
_CONSTANTS = {True: "true", False: "false", None: "null"}


def _valid(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced, so that it is UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _as_it_is(value: Any) -> Any:
    return value


plain = Clean(Names(), _as_it_is, _as_it_is)
