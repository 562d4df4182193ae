"""Which context is current: one for each thread or task, and none outside requests and sessions.

Must not know how a context comes about.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from koala_middleware.calls.context import KoalaContext

current: ContextVar[KoalaContext] = ContextVar("koala")


class as_current:  # noqa: N801  (reads as the block it opens: `with as_current(context):`)
    """Makes a context the current one within the block."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: KoalaContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token: Token[KoalaContext] = current.set(self._context)

    def __exit__(self, *_: object) -> None:
        current.reset(self._token)
