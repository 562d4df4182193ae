"""FastAPI: the context as a dependency, `def login(koala: Koala)`. The middleware itself is asgi.py's."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from koala_middleware.asgi import KoalaMiddleware, KoalaRequest
from koala_middleware.calls.context import KoalaContext

__all__ = ["Koala", "KoalaMiddleware", "KoalaRequest"]


async def _koala(connection: HTTPConnection) -> KoalaContext:
    context: KoalaContext = connection.koala  # type: ignore[attr-defined]  # asgi.py's property
    return context


Koala = Annotated[KoalaContext, Depends(_koala)]
