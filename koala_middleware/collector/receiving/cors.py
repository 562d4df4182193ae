"""Which sites' scripts may use the protocol: CORS, for the protocol's paths alone."""

from __future__ import annotations

from collections.abc import Collection

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

_DAY = 24 * 60 * 60


class _ScriptCors(CORSMiddleware):
    """Starlette's, which servers' batches bypass: a POST without an Origin does not come from a browser."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and not _has_origin(scope):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _has_origin(scope: Scope) -> bool:
    return any(name == b"origin" for name, _ in scope["headers"])


def cors(origins: Collection[str] | None) -> Middleware:
    """For scripts of these sites; None: of any site."""
    return Middleware(
        _ScriptCors,
        allow_origins=sorted(origins) if origins else ["*"],
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        allow_credentials=True,  # beacons carry cookies; nothing here reads them
        max_age=_DAY,
    )
