"""The visitor's address and scheme behind trusted proxies. Must not know logins or rate limits, which use them."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from koala_middleware.collector.settings import Network

LOOPBACK = frozenset({ip_network("127.0.0.0/8"), ip_network("::1/128")})
FROM_PROXY = "koala.from_proxy"  # in the scope of requests that a proxy named in the settings passed on


class TrustedProxies:
    """An ASGI middleware. Believes `X-Forwarded-For` and `X-Forwarded-Proto` of trusted addresses only.

    Without a setting, those of this machine are believed: a proxy in front of the collector is usually there.
    """

    def __init__(self, app: ASGIApp, trusted: Collection[Network] | None) -> None:
        self._app = app
        self._named = trusted is not None
        self._trusted = trusted or LOOPBACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] == "http" and client and self._trusts(client[0]):
            scope = {**scope, **self._forwarded(scope), FROM_PROXY: self._named}
        await self._app(scope, receive, send)

    def _forwarded(self, scope: Scope) -> Scope:
        changed: Scope = {}
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                if (address := self._visitor(value.decode("latin-1"))) is not None:
                    changed["client"] = (address, 0)
            elif name == b"x-forwarded-proto" and value.strip() in {b"http", b"https"}:
                changed["scheme"] = value.strip().decode()
        return changed

    def _visitor(self, forwarded: str) -> str | None:
        """The last address that is not a trusted proxy's. None where the header cannot be read."""
        for text in reversed(forwarded.split(",")):
            address = _plain(text.strip())
            if address is None:
                return None
            if not self._trusts(address):
                return address
        return None

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


def _plain(text: str) -> str | None:
    """`"[2001:db8::1]:443"` and `"203.0.113.9:80"` without brackets and port; None when it is not an address."""
    text = text.strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
