"""Host names and their registrable domains, by the Public Suffix List.

Must not know cookies, requests or settings. A Host header may hold anything, so it is validated before it is
looked up. A doubtful host has no domain: a host-only cookie always works.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

_LABEL = "[A-Za-z0-9_-]{1,63}"
# At least two labels, an optional port. A trailing dot does not match: Chromium refuses `Domain=example.com`
# on `http://example.com./`, so such a host gets no Domain at all.
_HOST = re.compile(rf"({_LABEL}(?:\.{_LABEL})+)(?::[0-9]{{0,5}})?")
# A URL parser may read `1` and `0x1` as IPv4 addresses. No top-level domain looks like this.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_PORT = re.compile(r":[0-9]{0,5}\Z")
_LONGEST_HOST = 253
_LONGEST_PORT = len(":65535")
_CACHED_HOSTS = 1024  # bounded, since the sender chooses the Host header


def host_name(host: str) -> str | None:
    """The lower-case name in a Host header, without its port; None for anything but a dotted DNS name.

    None for IP addresses, single labels, trailing dots, and everything malformed. Linear time, never raises.
    """
    if len(host) > _LONGEST_HOST + _LONGEST_PORT:
        return None
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    name = match[1].lower()
    if len(name) > _LONGEST_HOST or _NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]):
        return None
    return name


def registrable_domain(host: str) -> str | None:
    """The widest domain a browser lets this host set a cookie on; None where the cookie must be host-only.

    `"www.example.co.uk:8000"` gives `"example.co.uk"`; `"koala.github.io"` itself; `"github.io"`,
    `"localhost"` and `"127.0.0.1"` give None.
    """
    name = host_name(host)
    return _registrable(name) if name else None


@lru_cache(maxsize=_CACHED_HOSTS)
def _registrable(name: str) -> str | None:
    # Only valid names come here, so the cache is bounded in bytes, too.
    return _public_suffixes().privatesuffix(name)


def same_site(host: str, other: str) -> bool:
    """Whether a browser counts two hosts as one site: the same registrable domain, or else the same host."""
    return _site(host) == _site(other)


def _site(host: str) -> str:
    return registrable_domain(host) or _PORT.sub("", host.lower())


def covers(domain: str, name: str) -> bool:
    """Whether a cookie on `domain` is sent to the host `name`; both lower-case."""
    return name == domain or name.endswith("." + domain)


@cache
def _public_suffixes() -> PublicSuffixList:
    """The list with its private section, built on first use: 36 ms and 3 MB that many apps never need."""
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415  (see above)

    return PublicSuffixList()
