"""The visitor's IP address: the connection's peer, or what a trusted proxy reports.

Anybody can begin an X-Forwarded-For list, so it is read from its end, and only behind trusted proxies.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from koala_middleware.config.validators import Network
from koala_middleware.request.head import RequestHead

_LONGEST_LIST = 32  # proxies; nobody has more, and the sender may write as many as it likes


def visitor_address(head: RequestHead, trusted_proxies: Sequence[Network]) -> str | None:
    """The nearest address that does not belong to a trusted proxy; None if there is none, as on a unix socket.

    Source: RFC 7239 section 7.4; with X-Forwarded-For, each proxy appends the address of its client.
    """
    address = _address(head.peer or "")
    forwarded = (head.header("x-forwarded-for") or "").split(",")[-_LONGEST_LIST:] if trusted_proxies else []
    while forwarded and (address is None or _trusted(address, trusted_proxies)):
        nearer = _address(forwarded.pop().strip())
        if nearer is None:
            break
        address = nearer
    return None if address is None else str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A server that listens on both families shows an IPv4 peer inside IPv6.
    return getattr(address, "ipv4_mapped", None) or address


def _trusted(address: IPv4Address | IPv6Address, proxies: Sequence[Network]) -> bool:
    return any(address.version == proxy.version and address in proxy for proxy in proxies)
