"""koala_middleware: know who visits. The public names, and nothing else: no framework, no HTTP client.

The middleware itself comes from its framework's module:
`from koala_middleware.asgi import KoalaMiddleware`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koala_middleware.client import KoalaClient
    from koala_middleware.config import KoalaConfig
    from koala_middleware.context import AccountContext, KoalaContext
    from koala_middleware.erasure import KoalaErasureError
    from koala_middleware.errors import KoalaApiError, KoalaConfigError, KoalaError, KoalaNotInstalledError
    from koala_middleware.events import koala_event
    from koala_middleware.proxy import koala

__all__ = [
    "AccountContext",
    "KoalaApiError",
    "KoalaClient",
    "KoalaConfig",
    "KoalaConfigError",
    "KoalaContext",
    "KoalaErasureError",
    "KoalaError",
    "KoalaNotInstalledError",
    "koala",
    "koala_event",
]

_HOMES = {
    "AccountContext": "context",
    "KoalaApiError": "errors",
    "KoalaErasureError": "erasure",
    "KoalaClient": "client",
    "KoalaConfig": "config",
    "KoalaConfigError": "errors",
    "KoalaContext": "context",
    "KoalaError": "errors",
    "KoalaNotInstalledError": "errors",
    "koala": "proxy",
    "koala_event": "events",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: an adapter's import must not pay for what its app does not use.
    if name in _HOMES:
        return getattr(import_module(f"koala_middleware.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
