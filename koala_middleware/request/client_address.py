"""The visitor's address: the connection's peer, or what a proxy that the site trusts says of it.

X-Forwarded-For is a list that anybody can begin, so it is read from its end, and only behind trusted proxies.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from koala_middleware.config.validators import Network
from koala_middleware.request.head import RequestHead

_LONGEST_LIST = 32  # proxies; nobody has more, and the list is the sender's to write


def visitor_address(head: RequestHead, trusted_proxies: Sequence[Network]) -> str | None:
    """The nearest address that is no trusted proxy's; None where there is none, as on a unix socket.

    Source: RFC 7239 section 7.4 and the practice of X-Forwarded-For: each proxy appends whom it heard from.
    """
    address = _address(head.peer or "")
    heard = (head.header("x-forwarded-for") or "").split(",")[-_LONGEST_LIST:] if trusted_proxies else []
    while heard and (address is None or _trusted(address, trusted_proxies)):
        nearer = _address(heard.pop().strip())
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
