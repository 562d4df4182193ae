"""Converts any value to the types JSON knows, within limits.

Must not know which values are secret: `payload.scrub` gives a Cleaner its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from json.encoder import encode_basestring
from typing import Any

from koala_middleware.payload.values.conversions import ITEMS, convert
from koala_middleware.payload.values.property_names import Masking, PropertyNames
from koala_middleware.payload.values.truncation import TRUNCATED, truncate_text, valid_unicode
from koala_middleware.protocol.limits import DATA_DEPTH, MAX_INT_BITS

TEXT_BYTES = 8 * 1024  # of one text in UTF-8
MASK = "[scrubbed]"

_TOTAL_ROOM = (
    256 * 1024
)  # characters, roughly, of a whole value: eight entries' worth; to_json chooses from them
_ROOM_PER_ITEM = 16
_LEAST_TEXT = 64  # bytes that a text still gets when the room is used up
_LONG_TEXT = 256
_SHORTEST_CARD_NUMBER = 10**13
_FEW_MEMBERS = 64
_PAIR = 2

_JSON_CONSTANTS = {True: "true", False: "false", None: "null"}
_type_name = type.__dict__["__name__"].__get__  # a metaclass cannot override this

# The ids of the containers around a value, outermost first.
_Parents = tuple[int, ...]
_KEY_PARENTS = (0,) * (DATA_DEPTH - 1)  # for keys: one conversion, but no container


class Cleaner:
    """Converts values when called: `plain`, or `scrub`, which masks secrets as well.

    Args:
        names: Cleans the names of members, and says whose values to mask.
        clean_text, clean_number: Mask secrets in a text or a whole number.
    """

    __slots__ = ("_clean_number", "_clean_text", "_names")

    def __init__(
        self, names: PropertyNames, clean_text: Callable[[str], str], clean_number: Callable[[int], object]
    ) -> None:
        self._names = names
        self._clean_text = clean_text
        self._clean_number = clean_number

    def __call__(self, value: object) -> Any:
        """The value as None, bool, int, finite float, str, list, or dict with str keys. Never raises.

        Texts are cut at `TEXT_BYTES` and end in "…". Containers are cut at `ITEMS` members, `DATA_DEPTH` levels and a
        total size, and the outermost mapping gets `"$truncated": true`. NaN and infinity become None. A cycle, and
        whatever cannot be converted, becomes the name of its type.
        """
        return _Walk(self).convert(value)

    def flat_json(self, members: object) -> str | None:
        """The JSON of a mapping of few short texts and numbers with nothing to mask, like most properties.

        None for all others. Saves the walk, the copy and the encoder: a third of an entry.
        """
        if type(members) is not dict or len(members) > _FEW_MEMBERS or "value" in members:
            return None
        names, clean_text = self._names, self._clean_text
        parts: list[str] = []
        for key, item in members.items():
            name = names[key][2] if type(key) is str else ""
            kind = type(item)
            if not name:
                return None
            if kind is str and len(item) <= _LONG_TEXT and item.isascii():
                parts.append(f"{name}{encode_basestring(clean_text(item))}")
            elif (kind is int and -1 <= item < _SHORTEST_CARD_NUMBER) or (
                kind is float and item - item == 0.0
            ):
                parts.append(f"{name}{item}")
            elif kind is bool or item is None:
                parts.append(name + _JSON_CONSTANTS[item])
            else:
                return None
        return f"{{{','.join(parts)}}}"


class _Walk:
    """One walk over one value, level by level, so that the deepest members are the first to be left out."""

    __slots__ = ("_clean_number", "_clean_text", "_names", "_pending", "_room", "_truncated")

    def __init__(self, cleaner: Cleaner) -> None:
        self._names = cleaner._names
        self._clean_text = cleaner._clean_text
        self._clean_number = cleaner._clean_number
        self._room = _TOTAL_ROOM
        self._truncated = False
        self._pending: list[tuple[Any, Any, _Parents]] = []  # source, target, and the source's parents

    def convert(self, value: object) -> Any:
        result = self._value(value, ())
        for source, target, parents in self._pending:  # grows meanwhile
            if self._room <= 0:
                self._truncated = True
                break
            members = source if len(source) <= ITEMS else self._first_items(source)
            try:
                if type(target) is dict:
                    self._fill(members, target, parents)
                elif len(members) == _PAIR and type(members) is not set and type(members) is not frozenset:
                    target.extend(self._pair(members, parents))
                else:
                    target.extend([self._value(item, parents) for item in members])
            except Exception:  # noqa: BLE001  (another thread changed the container meanwhile)
                self._truncated = True
            self._room -= _ROOM_PER_ITEM * len(target)
        if self._truncated and type(result) is dict:
            result[TRUNCATED] = True
        return result

    def _first_items(self, source: Any) -> Any:
        self._truncated = True
        return dict(islice(source.items(), ITEMS)) if type(source) is dict else list(islice(source, ITEMS))

    def _fill(self, source: dict[Any, Any], target: dict[str, Any], parents: _Parents) -> None:
        names, clean_text, convert = self._names, self._clean_text, self._value
        for key, item in source.items():
            name, masking, _ = names[key] if type(key) is str else self._key(key)
            if masking is not None:
                target[name] = self._masked(item, masking, parents)
            elif type(item) is str and len(item) <= _LONG_TEXT and item.isascii():
                target[name] = clean_text(item)
            else:
                target[name] = convert(item, parents)
        if "value" in target:
            self._mask_named_value(source, target, parents)
        if len(target) < len(source):  # two keys, such as 1 and "1", have the same name
            self._truncated = True

    def _mask_named_value(self, source: dict[Any, Any], target: dict[str, Any], parents: _Parents) -> None:
        """`{"name": "X-Api-Key", "value": "k3y"}` is judged by its name, like a member of a mapping."""
        name = target.get("name", target.get("key"))
        if type(name) is str and (masking := self._names.masking(name)):
            target["value"] = self._masked(source.get("value"), masking, parents)

    def _pair(self, pair: Any, parents: _Parents) -> list[Any]:
        """`("X-Api-Key", "k3y")` is judged by its first item, like a member of a mapping."""
        first = self._value(pair[0], parents)
        if type(first) is str and len(first) <= _LONG_TEXT and (masking := self._names.masking(first)):
            return [first, self._masked(pair[1], masking, parents)]
        return [first, self._value(pair[1], parents)]

    def _masked(self, item: Any, masking: Masking, parents: _Parents) -> Any:
        kind = type(item)
        if item is None or kind is bool:  # {"has_password": True} is no secret
            return item
        if masking == "mask unless number" and (kind is int or kind is float):
            return self._value(item, parents)
        return MASK

    def _value(self, value: Any, parents: _Parents) -> Any:  # noqa: PLR0911  (one line a type, the commonest first)
        kind = type(value)
        if kind is dict:
            return self._container(value, {}, parents)
        if kind is str:
            return (
                self._clean_text(value) if len(value) <= _LONG_TEXT and value.isascii() else self._text(value)
            )
        if kind is bool or value is None:
            return value
        if kind is int:
            return value if -1 <= value < _SHORTEST_CARD_NUMBER else self._large_int(value)
        if kind is float:
            return value if value - value == 0.0 else None
        if kind is list or kind is tuple or kind is set or kind is frozenset:
            return self._container(value, [], parents)
        return self._object(value, parents)

    def _container(self, source: Any, target: Any, parents: _Parents) -> Any:
        """The target, filled later; the type's name for a cycle and below the deepest level."""
        own = id(source)
        if own in parents or len(parents) >= DATA_DEPTH:
            return type(source).__name__
        if source:
            self._pending.append((source, target, (*parents, own)))
        return target

    def _object(self, value: object, parents: _Parents) -> Any:
        own = id(value)
        if own not in parents and len(parents) < DATA_DEPTH:
            try:
                return self._value(convert(value), (*parents, own))
            except Exception:  # noqa: BLE001, S110  (the object's own code may raise anything)
                pass
        return self._text(_type_name(type(value)))

    def _large_int(self, value: int) -> object:
        return self._clean_number(value) if value.bit_length() <= MAX_INT_BITS else "int"

    def _text(self, value: str) -> str:
        """A text that is long or not ASCII: made valid, cleaned and cut.

        Cleans more than it keeps: a secret that is cut off at the end of what is cleaned might not be recognized.
        """
        limit = TEXT_BYTES if self._room > 0 else _LEAST_TEXT
        start = self._clean_text(valid_unicode(value[: 2 * limit]))
        if len(value) > 2 * limit:
            start = start[: -limit // 8] + "…"
        kept = truncate_text(start, limit)
        self._room -= len(kept)
        return kept

    def _key(self, key: object) -> tuple[str, Masking, str]:
        """A key that is no str: scalars as in JSON, tuples joined by commas."""
        parts = key if type(key) is tuple else (key,)
        return self._names[",".join(self._key_text(part) for part in islice(parts, _LEAST_TEXT))]

    def _key_text(self, key: object) -> str:
        value = self._value(key, _KEY_PARENTS)
        if type(value) is str:
            return value
        if type(value) is bool or value is None:
            return _JSON_CONSTANTS[value]
        return str(value) if type(value) is int or type(value) is float else _type_name(type(key))


def _unchanged(value: Any) -> Any:
    return value


plain = Cleaner(PropertyNames(), _unchanged, _unchanged)
