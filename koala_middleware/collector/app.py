"""The collector as a Starlette app: its routes, its middleware, and what its lifespan starts and stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from koala_middleware.collector import json_api, probes
from koala_middleware.collector.access.allowed_hosts import AllowedHosts
from koala_middleware.collector.access.login_required import LoginRequired, database_unavailable
from koala_middleware.collector.access.proxies import TrustedProxies
from koala_middleware.collector.http import refusal_response
from koala_middleware.collector.pages import live, login, views
from koala_middleware.collector.pages.rendering import STATIC
from koala_middleware.collector.receiving import batch_endpoint, browser_script, bulk, deletion_requests
from koala_middleware.collector.receiving.cors import cors
from koala_middleware.collector.runtime import Collector
from koala_middleware.collector.settings import CollectorSettings, collection, milliseconds, networks
from koala_middleware.collector.store.errors import DatabaseUnavailable
from koala_middleware.collector.store.opening import open_store
from koala_middleware.collector.validation.refusal import RequestRefused


def create_app(
    database: str | Path,
    keys: Collection[str] | None = None,
    *,
    origins: Collection[str] | None = None,
    secret_key: str | None = None,
    keep: str | None = None,
    address_rate: float | None = None,
    key_rate: float | None = None,
    login: bool = True,
    login_header: str | None = None,
    trusted_proxies: Collection[str] | None = None,
    allowed_hosts: Collection[str] | None = None,
) -> Starlette:
    """Create a collector on a database.

    Args:
        database: A SQLite file, created when it does not exist; or `"postgresql://user@host/name"`, which several
            collectors may share.
        keys: The public API keys to take. None or empty takes any key, which suits development.
        origins: The sites whose scripts may send, `"https://www.example.com"`. None or empty: any site.
        secret_key: The key that deletion requests must carry, `"sk_…"`. None turns them off.
        keep: How long to keep entries: `"90d"`, `"12w"`, `"1y"`. None: forever.
        address_rate: Requests a second, on average, from one address; more are answered 429. None: no limit.
        key_rate: The same for one key.
        login: False opens the pages to everybody. Otherwise they ask for a login once there is a user.
        login_header: The header in which a proxy names the user; needs `trusted_proxies`.
        trusted_proxies: The addresses or networks whose `X-Forwarded-For`, `X-Forwarded-Proto` and `login_header`
            are believed. None: the first two from this machine.
        allowed_hosts: The names under which the pages answer, `"collector.example.com"`. None: any.

    Raises:
        TypeError, ValueError: A setting is invalid. No message shows a secret.
        ImportError: A package that the database needs is not installed.
    """
    settings = CollectorSettings(
        database,
        collection("keys", keys),
        collection("origins", origins),
        secret_key,
        milliseconds(keep),
        address_rate,
        key_rate,
        login,
        login_header,
        networks(trusted_proxies),
        collection("allowed_hosts", allowed_hosts),
    )
    open_store(database).close()  # an invalid `database` is refused here
    return Starlette(
        routes=_routes(settings),
        middleware=[
            Middleware(AllowedHosts, settings.allowed_hosts),
            Middleware(TrustedProxies, settings.trusted_proxies),
            Middleware(LoginRequired),
        ],
        exception_handlers={DatabaseUnavailable: database_unavailable, RequestRefused: refusal_response},
        lifespan=_lifespan(settings),
    )


def _lifespan(settings: CollectorSettings):  # type: ignore[no-untyped-def]  # Starlette has no name for its type
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
    scripts = cors(settings.origins)  # for the protocol only: no other site may read the pages
    sending: list[BaseRoute] = [
        Route("/batch", batch_endpoint.person_batch, methods=["POST"]),
        Route("/accounts/batch", batch_endpoint.account_batch, methods=["POST"]),
        Route("/bulk", bulk.bulk, methods=["POST"]),
        Route("/profiles", browser_script.profiles, methods=["POST"]),
        Route("/metrics", browser_script.telemetry, methods=["POST"]),
        Route("/auth", browser_script.auth),
    ]
    return [
        Route("/web/projects/{key}", browser_script.bootstrap, middleware=[scripts]),
        Mount("/web/projects/{key}", routes=sending, middleware=[scripts]),
        Mount(
            "/v1/{key}",
            routes=[Route("/sdk.js", browser_script.script)],
            middleware=[scripts, Middleware(GZipMiddleware)],
        ),
        Route("/api/v1/deletion-requests", deletion_requests.request_deletion, methods=["POST"]),
        Route("/api/v1/deletion-requests/{id}", deletion_requests.deletion_receipt),
        *probes.routes,
        *login.routes,
        *json_api.routes,
        *live.routes,
        *views.routes,
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
    ]
