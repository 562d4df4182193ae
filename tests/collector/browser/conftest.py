"""A browser each for whoever visits, and an endpoint that writes down what arrives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support.chromium import DEADLINE, somebodys_browser
from support.endpoint import Asked, Endpoint, Reply, reply_with

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


class BrowserEndpoint(Endpoint):
    """Takes the browser script's requests, and serves one page to run it in, under every host name.

    Attributes:
        requests: Those of the protocol; pages and the script are not among them.
        batches: Bodies of `/batch` as they arrived, those refused by `statuses` too.
        statuses: What the next batches are answered with; 200 when used up.
        profile_id: What the bootstrap answers instead of an echo.
        html: The page's body.
        headers: More headers for the page.
        hold_bootstrap: The bootstrap answers once this is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[dict[str, Any]] = []
        self.requests: list[Asked] = []
        self.statuses: list[int] = []
        self.profile_id: str | None = None
        self.html = ""
        self.headers: dict[str, str] = {}
        self.hold_bootstrap = threading.Event()
        self.hold_bootstrap.set()

    def __exit__(self, *exit_: object) -> None:
        self.hold_bootstrap.set()
        super().__exit__(*exit_)

    def at(self, host: str = "www.shop.example.test", path: str = "/") -> str:
        return f"http://{host}:{self.port}{path}"

    def snippet(self, nonce: str | None = None) -> str:
        # Plain text: what is added to a Markup would be escaped.
        return str(snippet(KEY, self.at("collector.test", ""), nonce))

    def wait(self, received: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """All batches, as soon as `received` says that those awaited are among them."""
        if not self.wait_for(lambda: received(self.batches), DEADLINE):
            pytest.fail(f"after {DEADLINE} s there were only: {json.dumps(self.batches, indent=1)}")
        return list(self.batches)

    def entries(self, kind: str, count: int) -> list[dict[str, Any]]:
        """At least `count` entries of a kind, in the order in which they arrived.

        Each once, as a collector counts them: what was under way when a page went may come a second time.
        """
        batches = self.wait(lambda found: len(_each_once(found, kind)) >= count)
        return _each_once(batches, kind)

    def respond(self, asked: Asked) -> Reply:
        path = asked.path.partition("?")[0]
        if path.endswith("/sdk.js"):
            return Reply(200, SDK.read_bytes(), {"Content-Type": "text/javascript"})
        if not path.startswith("/web/projects/"):
            page = f"<!doctype html><title>Shop</title>{self.html or self.snippet()}"
            return Reply(200, page.encode(), {"Content-Type": "text/html; charset=utf-8", **self.headers})
        with self.changed:
            self.requests.append(asked)
        status, body = self._answer(asked, path.rpartition("/")[2])
        return reply_with(status, body, {"Access-Control-Allow-Origin": "*"})

    def _answer(self, asked: Asked, last: str) -> tuple[int, dict[str, Any]]:
        """By the last part of the path; that of the bootstrap is the key."""
        if last == "profiles":
            return 200, {"profile_id": asked.body["profile_id"], "q": True, "a": {}}
        if last != "batch":
            self.hold_bootstrap.wait(DEADLINE)
            [own] = parse_qs(urlsplit(asked.path).query)["profile_id"]
            return 200, {"profile_id": self.profile_id or own, "sdk_settings": {}}
        status = self.statuses.pop(0) if self.statuses else 200
        with self.changed:
            self.batches.append(asked.body)
            self.changed.notify_all()
        return status, {"ok": status == 200}


def _each_once(batches: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return list({entry["message_id"]: entry for batch in batches for entry in batch[kind]}.values())


@pytest.fixture
def endpoint() -> Iterator[BrowserEndpoint]:
    with BrowserEndpoint() as running:
        yield running


@pytest.fixture
def ko_ids() -> Callable[[Page], list[Any]]:
    """All ko_id cookies of a page's browser, with their attributes."""

    def read(page: Page) -> list[Any]:
        # What a script has just written reaches the cookie store in its own time; reading waits for that.
        page.evaluate("document.cookie")
        return [found for found in page.context.cookies() if found.get("name") == "ko_id"]

    return read
