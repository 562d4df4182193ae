"""The collector's settings, checked once, when it starts."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

PUBLIC_API_KEY = re.compile(r"(?!sk_)[A-Za-z0-9._~-]{1,128}")  # as clients accept them
MAX_KEY = 200  # characters, when any key is taken
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
        keys: The public API keys to take; None takes any.
        origins: The sites whose scripts may send; None: any site.
        secret_key: The key that deletion requests must carry; None turns them off.
        keep: How long to keep entries, in milliseconds; None: forever.
        address_rate, key_rate: Requests a second, on average, from one address and for one key; None: no limit.
        login_header: The header in which a trusted proxy names the user.
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
            return len(key) <= MAX_KEY and key.isprintable()
        return key in self.keys


def collection(name: str, given: Collection[str] | None) -> frozenset[str] | None:
    """A set of texts; None and empty both mean "any". Raises TypeError for a single text."""
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
