"""One server process, one app for each test's settings: the X-Settings header says which.

So a real server starts once, and each test has its own settings, its own collector and so its own app.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

SETTINGS_HEADER = "X-Settings"

Build = Callable[[dict[str, Any] | None], Any]


class Apps:
    """Builds an app when its settings are first seen. `"null"` stands for the app without Koala."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._built: dict[str, Any] = {}
        self._building = threading.Lock()

    def named(self, settings: str) -> Any:
        with self._building:
            if settings not in self._built:
                self._built[settings] = self._build(json.loads(settings))
            return self._built[settings]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._built.values())


class AsgiSwitchboard:
    """ASGI servers take a connection's next request before the app has returned from the last one; so
    "/drained" first waits until it has."""

    def __init__(self, build: Build) -> None:
        self.apps = Apps(build)
        self._running = 0
        self._changed = asyncio.Condition()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            for app in self.apps:
                await lived(app, scope)
            await send({"type": "lifespan.shutdown.complete"})
            return
        wanted = SETTINGS_HEADER.lower().encode()
        settings = next((value for name, value in scope["headers"] if name == wanted), b"null")
        app = self.apps.named(settings.decode())
        if scope["type"] == "http" and scope["path"] == "/drained":
            async with self._changed:
                await self._changed.wait_for(lambda: not self._running)
            await app(scope, receive, send)
        else:
            await self._counted(app, scope, receive, send)

    async def _counted(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        self._running += 1
        try:
            await app(scope, receive, send)
        finally:
            async with self._changed:
                self._running -= 1
                self._changed.notify_all()


async def lived(app: Any, scope: Any) -> None:
    """One app's whole lifespan, when its server's ends."""
    coming = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

    async def receive() -> Any:
        return coming.pop()

    async def send(message: Any) -> None: ...

    with suppress(ValueError):  # Django has none, and says so
        await app({**scope, "state": {}}, receive, send)


class WsgiSwitchboard:
    def __init__(self, build: Build) -> None:
        self.apps = Apps(build)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        settings = environ.get("HTTP_" + SETTINGS_HEADER.upper().replace("-", "_"), "null")
        return self.apps.named(settings)(environ, start_response)
