"""FastAPI: the context as a dependency, `def login(koala: Koala)`.

`request.koala` and the middleware come from asgi.py.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from koala_middleware.asgi import KoalaMiddleware, KoalaRequest, context_of
from koala_middleware.calls.context import KoalaContext

__all__ = ["Koala", "KoalaMiddleware", "KoalaRequest"]


async def _koala(connection: HTTPConnection) -> KoalaContext:
    return context_of(connection)


Koala = Annotated[KoalaContext, Depends(_koala)]
