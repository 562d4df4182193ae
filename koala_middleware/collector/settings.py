"""The collector's settings, checked once, when it starts. Must not know what uses them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

PUBLIC_API_KEY = re.compile(r"(?!sk_)[A-Za-z0-9._~-]{1,128}")  # as clients accept them
SECRET_KEY = re.compile(r"(?!pk_)[A-Za-z0-9._~-]{8,200}")
MAX_KEY = 200  # characters, when any key is taken
_UNITS = {
    "h": 60 * 60 * 1000,
    "d": 24 * 60 * 60 * 1000,
    "w": 7 * 24 * 60 * 60 * 1000,
    "y": 365 * 24 * 60 * 60 * 1000,
}
_LENGTH = re.compile(r"(\d{1,6})([hdwy])")
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[?[0-9A-Fa-f:]+\]?")

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """A collector's settings. Each one is checked when this is created. See `app.create_app` for what they mean.

    Raises:
        TypeError, ValueError: A setting is invalid. No message shows a secret.
    """

    database: str | Path = field(repr=False)  # a URL may hold a password
    keys: frozenset[str] | None = None
    origins: frozenset[str] | None = None
    secret_key: str | None = field(default=None, repr=False)
    keep: int | None = None  # milliseconds
    address_rate: float | None = None
    key_rate: float | None = None
    login: bool = True
    login_header: str | None = None
    trusted_proxies: frozenset[Network] | None = None
    allowed_hosts: frozenset[str] | None = None

    def __post_init__(self) -> None:
        _check_database(self.database)
        for key in self.keys or ():
            _check_key(key)
        for origin in self.origins or ():
            _check_origin(origin)
        for host in self.allowed_hosts or ():
            _check_host(host)
        if self.secret_key is not None and not SECRET_KEY.fullmatch(self.secret_key):
            raise ValueError(
                "secret_key is not one, expected 8 to 200 letters, digits and . _ ~ - that do not begin with "
                'pk_, like "sk_" and a random text'
            )
        _check_rate("address_rate", self.address_rate)
        _check_rate("key_rate", self.key_rate)
        if self.login_header is not None and not self.trusted_proxies:
            raise ValueError(
                "login_header needs trusted_proxies: without the proxy's address, anybody could send "
                f'{self.login_header!r}. Name it, like trusted_proxies=["127.0.0.1"] or --trusted-proxy 127.0.0.1'
            )

    def takes(self, key: str) -> bool:
        if self.keys is None:
            return len(key) <= MAX_KEY and key.isprintable()
        return key in self.keys


def _check_database(database: str | Path) -> None:
    if str(database) in {"", ":memory:"} or str(database).startswith("file:"):
        raise ValueError(
            f"database is {str(database)!r}, expected a file's name, which the reading and the writing side share, "
            'or "postgresql://user@host/name"'
        )


def _check_key(key: object) -> None:
    if isinstance(key, str) and PUBLIC_API_KEY.fullmatch(key):
        return
    if "sk_" in str(key):
        raise ValueError('keys holds a secret key, expected public ones, which begin with "pk_"')
    raise ValueError(f'keys holds {key!r}, expected keys like "pk_1a2b3c" (letters, digits and . _ ~ -)')


def _check_origin(origin: object) -> None:
    """An Origin header is compared as it is: scheme and host, and a port that is not the scheme's own."""
    parts = urlsplit(origin) if isinstance(origin, str) else None
    plain = (
        parts and parts.hostname and f"{parts.scheme}://{parts.netloc}" == origin and "@" not in parts.netloc
    )
    if not plain or parts is None or parts.scheme not in {"http", "https"} or origin != str(origin).lower():
        raise ValueError(
            f"origins holds {origin!r}, expected scheme and host in lower case, without a path or a slash at the "
            'end: "https://www.example.com"'
        )


def _check_host(host: object) -> None:
    if not isinstance(host, str) or not _HOST.fullmatch(host):
        raise ValueError(
            f'allowed_hosts holds {host!r}, expected names without scheme and port: "collector.example.com", '
            '"*.example.com" or "*"'
        )


def _check_rate(name: str, rate: object) -> None:
    if rate is None:
        return
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate) or rate <= 0:
        raise ValueError(f"{name} is {rate!r}, expected a number of requests a second above 0, like 50")


def collection(name: str, given: Collection[str] | None) -> frozenset[str] | None:
    """A set of texts; None and empty both mean "any". Raises TypeError for a single text."""
    if isinstance(given, str):
        raise TypeError(f"{name} is the text {given!r}, expected a collection of texts: {name}=[{given!r}]")
    return frozenset(given) if given else None


def networks(given: Collection[str] | None) -> frozenset[Network] | None:
    """Addresses and networks, `"10.0.0.0/8"`. Raises ValueError."""
    texts = collection("trusted_proxies", given)
    return None if texts is None else frozenset(map(_network, texts))


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(
            f'trusted_proxies holds {text!r}, expected IP addresses or networks: "10.0.0.1", "10.0.0.0/8"'
        ) from None


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
