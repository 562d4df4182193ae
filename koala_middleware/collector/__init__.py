"""The collector: a server that takes the batch API, resolves who is who, stores it and shows it.

Knows nothing of the middleware half; what both share is the protocol. `create_app` is the whole of it as a
Starlette app; `koala-middleware collector` runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koala_middleware.collector.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    """`create_app`, imported when asked for: the command line's `--help` needs no extra."""
    if name == "create_app":
        from koala_middleware.collector.app import create_app  # noqa: PLC0415  (see above)

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
