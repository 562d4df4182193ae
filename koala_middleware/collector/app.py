"""The collector as a Starlette app: its parts put together, started and stopped by the lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from koala_middleware.collector import json_api as api
from koala_middleware.collector.access import guard
from koala_middleware.collector.monitoring import probes
from koala_middleware.collector.pages import STATIC, live, views
from koala_middleware.collector.receiving import batches as ingest
from koala_middleware.collector.receiving import browser_script as protocol
from koala_middleware.collector.receiving import bulk
from koala_middleware.collector.receiving.cors import shared_with
from koala_middleware.collector.recording.writer import Away
from koala_middleware.collector.runtime import Collector
from koala_middleware.collector.settings import CollectorSettings, collection, milliseconds
from koala_middleware.collector.store.opening import open_store


def create_app(
    database: str | Path,
    keys: Collection[str] | None = None,
    *,
    origins: Collection[str] | None = None,
    secret_key: str | None = None,
    keep: str | None = None,
    address_rate: float | None = None,
    key_rate: float | None = None,
    login_header: str | None = None,
) -> Starlette:
    """A collector on one database.

    Args:
        database: A SQLite file, made when it is not there; or `"postgresql://user@host/name"`, which several
            collectors may share.
        keys: The public API keys that are taken. None or empty takes any, which suits development.
        origins: The sites whose scripts may send, `"https://www.example.com"`. None or empty: any site.
        secret_key: What deletion requests must bear, `"sk_…"`. None switches them off.
        keep: How long entries stay: `"90d"`, `"12w"`, `"1y"`. None: for ever.
        address_rate: Requests a second, on average, from one address; more are answered 429. None: any.
        key_rate: The same for one key.
        login_header: The header in which a proxy that can be trusted names who is logged in.

    Raises:
        TypeError, ValueError: For a setting that cannot be meant.
        ImportError: When what the database needs is not installed.
    """
    settings = CollectorSettings(
        database,
        collection("keys", keys),
        collection("origins", origins),
        secret_key,
        milliseconds(keep),
        address_rate,
        key_rate,
        login_header,
    )
    open_store(database).close()  # whatever is wrong with the setting is said now
    return Starlette(
        routes=_routes(settings),
        middleware=[Middleware(guard.Guard)],
        exception_handlers={Away: guard.away},
        lifespan=_lifespan(settings),
    )


def _lifespan(settings: CollectorSettings):  # type: ignore[no-untyped-def]  # Starlette names no type for it
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        collector = app.state.collector = Collector(settings, open_store(settings.database, settings.keep))
        await collector.start()
        try:
            yield
        finally:
            await collector.stop()

    return lifespan


def _routes(settings: CollectorSettings) -> list[BaseRoute]:
    shared = shared_with(settings.origins)  # the protocol; what people look at is nobody else's
    sending: list[BaseRoute] = [
        Route("/batch", ingest.person_batch, methods=["POST"]),
        Route("/accounts/batch", ingest.account_batch, methods=["POST"]),
        Route("/bulk", bulk.bulk, methods=["POST"]),
        Route("/profiles", protocol.profiles, methods=["POST"]),
        Route("/metrics", protocol.metrics, methods=["POST"]),
        Route("/auth", protocol.auth),
    ]
    return [
        Route("/web/projects/{key}", protocol.bootstrap, middleware=[shared]),
        Mount("/web/projects/{key}", routes=sending, middleware=[shared]),
        Mount(
            "/v1/{key}",
            routes=[Route("/sdk.js", protocol.script)],
            middleware=[shared, Middleware(GZipMiddleware)],
        ),
        Route("/api/v1/deletion-requests", protocol.request_deletion, methods=["POST"]),
        Route("/api/v1/deletion-requests/{id}", protocol.deletion),
        *probes.routes,
        *guard.routes,
        *api.routes,
        *live.routes,
        *views.routes,
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
    ]
