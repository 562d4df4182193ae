"""What a collector can be told. Checked once, when it starts."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_KEY = 200  # characters, where any key is taken
_UNITS = {
    "h": 60 * 60 * 1000,
    "d": 24 * 60 * 60 * 1000,
    "w": 7 * 24 * 60 * 60 * 1000,
    "y": 365 * 24 * 60 * 60 * 1000,
}
_LENGTH = re.compile(r"(\d{1,6})([hdwy])")


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """A collector's settings.

    Attributes:
        database: A SQLite file, made when it is not there, or a PostgreSQL database's URL.
        keys: The public API keys that are taken; None takes any.
        origins: The sites whose scripts may send; None: any site.
        secret_key: What deletion requests must bear; None switches them off.
        keep: How long entries stay, in milliseconds; None: for ever.
        address_rate, key_rate: Requests a second, on average, from one address and for one key; None: any.
        login_header: The header in which a trusted proxy names who is logged in.
    """

    database: str | Path = field(repr=False)  # a URL may hold a password
    keys: frozenset[str] | None = None
    origins: frozenset[str] | None = None
    secret_key: str | None = None
    keep: int | None = None
    address_rate: float | None = None
    key_rate: float | None = None
    login_header: str | None = None

    def takes(self, key: str) -> bool:
        if self.keys is None:
            return len(key) <= LONGEST_KEY and key.isprintable()
        return key in self.keys


def collection(name: str, given: Collection[str] | None) -> frozenset[str] | None:
    """A set of texts; None and empty both mean "any". Refuses a lone text, which is a collection of letters."""
    if isinstance(given, str):
        raise TypeError(f"{name} is the text {given!r}, expected a collection of texts: {name}=[{given!r}]")
    return frozenset(given) if given else None


def milliseconds(length: str | None) -> int | None:
    """`"90d"` in milliseconds; also `h`, `w` and `y`. None stays None. Raises ValueError."""
    if length is None:
        return None
    match = _LENGTH.fullmatch(length.strip())
    if not match or int(match[1]) == 0:
        raise ValueError(
            f'keep is {length!r}, expected a number of hours, days, weeks or years, like "90d" or "1y"'
        )
    return int(match[1]) * _UNITS[match[2]]
