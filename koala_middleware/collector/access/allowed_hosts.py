"""Which names the pages answer to. A page of another site could otherwise reach them under a name of its own.

(DNS rebinding: a browser on this machine's network opens evil.example, whose name then points here.) Must not know
the pages.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from koala_middleware.collector.http import json_response

# The protocol may be used from any site, and probes hold no personal data.
ANY_HOST = ("/web/", "/v1/", "/api/v1/", "/healthz", "/metrics", "/openapi.json")


class AllowedHosts:
    """An ASGI middleware. IP addresses are always allowed: a name cannot be made to look like one."""

    def __init__(self, app: ASGIApp, allowed: Collection[str] | None) -> None:
        """`allowed`: `"collector.example.com"`, `"*.example.com"`; None or `"*"` allows any."""
        self._app = app
        self._any = allowed is None or "*" in allowed
        self._names = {name.lower().strip("[]") for name in allowed or () if not name.startswith("*.")}
        self._endings = tuple(name[1:].lower() for name in allowed or () if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._any and not scope["path"].startswith(ANY_HOST):
            host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
            if not self._allows(_without_port(host)):
                error = (
                    "This collector has another name. Start it with --allowed-host and this one to allow it"
                )
                await json_response({"error": error, "code": "unknown_host"}, 421)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _allows(self, host: str) -> bool:
        return host in self._names or host.endswith(self._endings) or _is_address(host)


def own_names(host: str) -> set[str]:
    """The names under which a collector that listens on `host` is known on its own machine."""
    return {host, "localhost", "*.localhost", socket.gethostname(), socket.getfqdn()} - {"", "0.0.0.0", "::"}  # noqa: S104  (not names)


def _without_port(host: str) -> str:
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
