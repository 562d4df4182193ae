"""The visitor's IP address: the connection's peer, or what a trusted proxy reports.

Anybody can begin an X-Forwarded-For list, so it is read from its end, and only behind trusted proxies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from koala_middleware.config.validators import Network
from koala_middleware.request.head import RequestHead

_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<v4>[0-9.]+))(?::[0-9]*)?")
_LONGEST_LIST = 32  # proxies; nobody has more, and the sender may write as many as it likes


def visitor_address(head: RequestHead, trusted_proxies: Sequence[Network]) -> str | None:
    """The nearest address that does not belong to a trusted proxy.

    None if there is none, as on a unix socket, and if a trusted proxy's list cannot be read: never a proxy's address.

    Source: RFC 7239 section 7.4; with X-Forwarded-For, each proxy appends the address of its client.
    """
    address = _address(head.peer or "")
    if not trusted_proxies:
        return None if address is None else str(address)
    forwarded = (head.header("x-forwarded-for") or "").split(",")[-_LONGEST_LIST:]
    while address is None or _trusted(address, trusted_proxies):
        address = _address(forwarded.pop()) if forwarded else None
        if address is None:
            return None
    return str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """`203.0.113.9`, `203.0.113.9:51008`, `2001:db8::1`, `[2001:db8::1]:443`, any of them in quotes."""
    text = text.strip().strip('"')
    found = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((found["v6"] or found["v4"]) if found else text)
    except ValueError:
        return None
    # A server that listens on both families shows an IPv4 peer inside IPv6.
    return getattr(address, "ipv4_mapped", None) or address


def _trusted(address: IPv4Address | IPv6Address, proxies: Sequence[Network]) -> bool:
    return any(address.version == proxy.version and address in proxy for proxy in proxies)
