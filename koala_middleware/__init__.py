"""koala_middleware: know who visits. The public names, loaded when they are first used.

The middleware comes from its framework's module: `from koala_middleware.asgi import KoalaMiddleware`. Importing this
package imports no framework and no HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koala_middleware.calls.catalog import koala_event
    from koala_middleware.calls.context import AccountContext, KoalaContext
    from koala_middleware.calls.local_proxy import koala
    from koala_middleware.client import KoalaClient
    from koala_middleware.config.settings import KoalaConfig
    from koala_middleware.errors import KoalaApiError, KoalaConfigError, KoalaError, KoalaNotInstalledError
    from koala_middleware.rest.erasure import KoalaErasureError

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

_MODULES = {
    "AccountContext": "calls.context",
    "KoalaApiError": "errors",
    "KoalaErasureError": "rest.erasure",
    "KoalaClient": "client",
    "KoalaConfig": "config.settings",
    "KoalaConfigError": "errors",
    "KoalaContext": "calls.context",
    "KoalaError": "errors",
    "KoalaNotInstalledError": "errors",
    "koala": "calls.local_proxy",
    "koala_event": "calls.catalog",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"koala_middleware.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
