"""A browser each for whoever visits, and an endpoint that writes down what arrives."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from support.chromium import DEADLINE, somebodys_browser

from koala_middleware.snippet import snippet

SDK = Path(__file__).parents[3] / "koala_middleware" / "collector" / "receiving" / "sdk.js"
KEY = "pk_browser"


@pytest.fixture
def new_browser(chromium: Browser) -> Iterator[Callable[[], BrowserContext]]:
    """Each call is somebody's own browser: no cookies, no storage."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(somebodys_browser(chromium))


@pytest.fixture
def page(new_browser: Callable[[], BrowserContext]) -> Page:
    return new_browser().new_page()


class Endpoint:
    """Takes the browser script's requests, and serves one page to run it in, under every host name.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        batches: Bodies of `/batch` as they arrived, those refused by `statuses` too.
        statuses: What the next batches are answered with; 200 when used up.
        profile_id: What the bootstrap answers instead of an echo.
        html: The page's body.
        headers: More headers for the page.
        hold_bootstrap: The bootstrap answers once this is set.
    """

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.requests: list[Request] = []
        self.statuses: list[int] = []
        self.profile_id: str | None = None
        self.html = ""
        self.headers: dict[str, str] = {}
        self.hold_bootstrap = threading.Event()
        self.hold_bootstrap.set()
        self._arrived = threading.Condition()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        routes = [
            Route("/v1/{key}/sdk.js", self._script),
            Route("/web/projects/{key}", self._bootstrap),
            Route("/web/projects/{key}/batch", self._batch, methods=["POST"]),
            Route("/web/projects/{key}/profiles", self._profiles, methods=["POST"]),
            Route("/{path:path}", self._page),
        ]
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold_bootstrap.set()
        self._server.should_exit = True
        self._thread.join(DEADLINE)
        self._socket.close()

    def url(self, host: str = "www.shop.example.test", path: str = "/") -> str:
        return f"http://{host}:{self.port}{path}"

    def snippet(self, nonce: str | None = None) -> str:
        # Plain text: what is added to a Markup would be escaped.
        return str(snippet(KEY, self.url("collector.test", ""), nonce))

    def wait(self, received: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """All batches, as soon as `arrived` says that those awaited are among them."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: received(self.batches), DEADLINE):
                pytest.fail(f"after {DEADLINE} s there were only: {json.dumps(self.batches, indent=1)}")
            return list(self.batches)

    def entries(self, kind: str, count: int) -> list[dict[str, Any]]:
        """At least `count` entries of a kind, in the order in which they arrived.

        Each once, as a collector counts them: what was under way when a page went may come a second time.
        """
        batches = self.wait(lambda found: len(_each_once(found, kind)) >= count)
        return _each_once(batches, kind)

    async def _script(self, _: Request) -> Response:
        return FileResponse(SDK, media_type="text/javascript")

    async def _page(self, _: Request) -> Response:
        return HTMLResponse(
            f"<!doctype html><title>Shop</title>{self.html or self.snippet()}", headers=self.headers
        )

    def _bootstrap(self, request: Request) -> Response:
        self.requests.append(request)
        self.hold_bootstrap.wait(DEADLINE)
        answer = {"profile_id": self.profile_id or request.query_params["profile_id"], "sdk_settings": {}}
        return JSONResponse(answer, headers={"Access-Control-Allow-Origin": "*"})

    async def _batch(self, request: Request) -> Response:
        body = json.loads(await request.body())
        status = self.statuses.pop(0) if self.statuses else 200
        with self._arrived:
            self.requests.append(request)
            self.batches.append(body)
            self._arrived.notify_all()
        return JSONResponse({"ok": status == 200}, status, headers={"Access-Control-Allow-Origin": "*"})

    async def _profiles(self, request: Request) -> Response:
        body = json.loads(await request.body())
        answer = {"profile_id": body["profile_id"], "q": True, "a": {}}
        return JSONResponse(answer, headers={"Access-Control-Allow-Origin": "*"})


def _each_once(batches: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return list({entry["message_id"]: entry for batch in batches for entry in batch[kind]}.values())


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as running:
        yield running


@pytest.fixture
def ko_ids() -> Callable[[Page], list[Any]]:
    """All ko_id cookies of a page's browser, with their attributes."""

    def read(page: Page) -> list[Any]:
        # What a script has just written reaches the cookie store in its own time; reading waits for that.
        page.evaluate("document.cookie")
        return [found for found in page.context.cookies() if found.get("name") == "ko_id"]

    return read
