"""Somebody with a browser, and one site under every host name, by http and https."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme
import uvicorn
from playwright.sync_api import Browser, BrowserContext
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from support.chromium import DEADLINE, somebodys_browser

from koala_middleware import KoalaClient
from koala_middleware.asgi import KoalaMiddleware
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.subjects import Person

Scheme = Literal["http", "https"]


# They depend on the site so that they are closed before it: a server waits for its connections.
@pytest.fixture
def somebody(chromium: Browser, site: Site) -> Iterator[BrowserContext]:
    with somebodys_browser(chromium) as context:
        yield context


@pytest.fixture
def two_people(chromium: Browser, site: Site) -> Iterator[list[BrowserContext]]:
    with somebodys_browser(chromium) as one, somebodys_browser(chromium) as other:
        yield [one, other]


class Kept:
    """Stands where delivery stands, and keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def put(self, batch: Batch) -> None:
        self.batches.append(batch)

    def dropped(self, entries: int, reason: str) -> None: ...

    @property
    def profile_ids(self) -> list[str | None]:
        return [batch.subject.profile_id for batch in self.batches if isinstance(batch.subject, Person)]


@dataclass
class Site:
    """One app under every host name, on a port for each scheme.

    `pages` holds what a path answers; what is not there answers its visitor's id as text. Paths under /track
    say something of their visitor, paths under /quiet do not use `request.koala`.
    """

    ports: dict[Scheme, int]
    delivery: Kept = field(default_factory=Kept)
    pages: dict[str, Callable[[Request], Response]] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)

    def url(self, host: str, path: str = "/", scheme: Scheme = "http") -> str:
        return f"{scheme}://{host}:{self.ports[scheme]}{path}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        path = request.url.path
        self.seen.append((request.method, path))
        koala = request.koala  # type: ignore[attr-defined]  # the middleware's
        if path.startswith("/track"):
            koala.track("Seen", {"path": path})
        if path in self.pages:
            response = self.pages[path](request)
        else:
            response = PlainTextResponse("quiet" if path.startswith("/quiet") else koala.profile_id)
        await response(scope, receive, send)


@contextmanager
def served(app: Any, **options: Any) -> Iterator[int]:
    """The app on a free port of 127.0.0.1, by uvicorn in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(DEADLINE)


@contextmanager
def site_with(certificate: Path, **settings: Any) -> Iterator[Site]:
    client = KoalaClient(public_api_key="pk_browser", **settings)
    site = Site({})
    client._pipeline.delivery = site.delivery  # type: ignore[assignment]  # stands in for it
    app = KoalaMiddleware(site, client)
    with ExitStack() as stack:
        site.ports["http"] = stack.enter_context(served(app))
        site.ports["https"] = stack.enter_context(served(app, ssl_certfile=certificate))
        yield site


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    trustme.CA().issue_cert("www.example.com", "*.example.com").private_key_and_cert_chain_pem.write_to_path(
        path
    )
    return path


@pytest.fixture(scope="module")
def shared_site(certificate: Path) -> Iterator[Site]:
    with site_with(certificate) as site:
        yield site


@pytest.fixture
def site(certificate: Path) -> Iterator[Site]:
    """Each path under /static is left alone by the middleware."""
    with site_with(certificate, exclude_paths=["/static/*"]) as site:
        yield site


def page_of(html: str, headers: dict[str, str] | None = None) -> Callable[[Request], Response]:
    # Its icon asks the server for nothing: that would be one more request of a visitor without a cookie.
    head = "<!doctype html><title>Shop</title><link rel=icon href='data:,'>"
    return lambda _: HTMLResponse(head + html, headers=headers)


@pytest.fixture(name="page_of")
def _page_of() -> Callable[..., Callable[[Request], Response]]:
    return page_of
