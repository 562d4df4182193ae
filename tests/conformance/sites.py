"""The same small site on every framework and server: the rows of the conformance suite.

A new framework is one app module and one line in `FRAMEWORKS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from threading import Event
from time import monotonic
from typing import Any, Literal

from conformance import servers
from conformance.exchange import Answer, Ask, Send
from conformance.switchboard import SETTINGS_HEADER
from support.ports import free_port

Settings = dict[str, Any]
Interface = Literal["asgi", "wsgi"]


@dataclass(frozen=True)
class Framework:
    """One way to build the site.

    Attributes:
        app: Where servers find it, `"module:name"` in `conformance.apps`.
        client: The framework's test client, a function in `conformance.clients`.
        configured: Settings that a process has only one set of, `"name"` in the module; Django's.
        background: Whether it can go on after the response.
        websockets: Whether the site has its chat.
        error_page: Whether an exception becomes the site's own page.
    """

    name: str
    interface: Interface
    app: str
    client: str
    configured: str | None = None
    background: bool = False
    websockets: bool = False
    error_page: bool = True

    @property
    def module(self) -> Any:
        return import_module(f"conformance.apps.{self.app.partition(':')[0]}")

    def app_with(self, settings: Settings | None) -> Any:
        """The ASGI or WSGI callable itself."""
        switchboard = getattr(self.module, self.app.partition(":")[2])
        return switchboard.apps.named(json.dumps(settings))


FRAMEWORKS = (
    Framework("asgi", "asgi", "plain_asgi:application", "starlette_client", background=True, websockets=True),
    Framework(
        "starlette", "asgi", "starlette_app:application", "starlette_client", background=True, websockets=True
    ),
    Framework(
        "fastapi", "asgi", "fastapi_app:application", "starlette_client", background=True, websockets=True
    ),
    Framework("wsgi", "wsgi", "plain_wsgi:application", "werkzeug_client", error_page=False),
    Framework("flask", "wsgi", "flask_app:application", "flask_client", background=True),
    Framework("django", "wsgi", "django_app:wsgi_sync", "django_client", "SYNC"),
    Framework("django-async-views", "wsgi", "django_app:wsgi_async", "django_client", "ASYNC"),
    Framework("django-asgi", "asgi", "django_app:asgi_async", "django_async_client", "ASYNC"),
    Framework("django-asgi-sync-views", "asgi", "django_app:asgi_sync", "django_async_client", "SYNC"),
    Framework("litestar", "asgi", "litestar_app:application", "starlette_client"),
    Framework("quart", "asgi", "quart_app:application", "starlette_client"),
    Framework("falcon-asgi", "asgi", "falcon_app:asgi_application", "starlette_client"),
    Framework("falcon", "wsgi", "falcon_app:application", "werkzeug_client"),
    Framework(
        "bottle", "wsgi", "bottle_app:application", "werkzeug_client", error_page=False
    ),  # its page is an exc_info, which werkzeug's client raises
    Framework("pyramid", "wsgi", "pyramid_app:application", "werkzeug_client"),
)


@dataclass
class Site:
    """The site, running with one test's settings.

    Attributes:
        send: Asks it as the framework's test client or a browser's connection does.
        bare: The same without Koala at all.
        port: Where it listens; None in a test client.
        end: Ends its server in order, if it has one, and waits until it has gone.
        log: What the process has logged.
    """

    framework: Framework
    settings: Settings
    send: Send
    bare: Send
    log: Callable[[], str]
    port: int | None = None
    always: dict[str, str] = field(default_factory=dict)
    end: Callable[[], None] = lambda: None

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, **headers: str) -> Answer:
        return self.ask("POST", path, **headers)

    def ask(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> Answer:
        return self.send(self.question(method, path, body, **headers))

    def question(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> Ask:
        """Keywords are header names: `x_gate="…"` is X-Gate."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return Ask(method, path, {"Host": "www.example.com", **self.always, **named}, body)

    def reply(
        self, path: str = "/as-told", /, *, method: str = "GET", cookie: str = "", **told: Any
    ) -> Answer:
        """Have the handler reply so: `reply(status=204, headers=[("Vary", "Accept")])`."""
        cookies = {"cookie": cookie} if cookie else {}
        return self.ask(method, path, x_reply=json.dumps(told), **cookies)

    def complains(self, of: str, within: float = 10) -> None:
        """The log names what is complained of, or does within so many seconds."""
        deadline = monotonic() + within
        while of not in self.log() and monotonic() < deadline:
            Event().wait(0.02)

    def drained(self, within: float = 5) -> None:
        """All that was said so far has been delivered when this returns, or so many seconds are over."""
        self.get("/drained", x_endpoint=self.settings["endpoint"], x_within=str(within))


@contextmanager
def in_test_client(framework: Framework, settings: Settings, log: Callable[[], str]) -> Iterator[Site]:
    client = getattr(import_module("conformance.clients"), framework.client)
    module = framework.module
    if framework.configured is None:
        yield Site(
            framework, settings, client(framework.app_with(settings)), client(framework.app_with(None)), log
        )
        return
    with module.configured(getattr(module, framework.configured), settings):
        yield Site(framework, settings, client(module), module.without_koala(client(module)), log)


class RealServers:
    """Servers by name and app, each started when first asked for."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], servers.Server] = {}

    def server(self, name: str, app: str) -> servers.Server:
        if (name, app) not in self._running:
            port = free_port()
            command = getattr(servers, name)(f"conformance.apps.{app}", port)
            self._running[name, app] = servers.started(command, port)
        return self._running[name, app]

    def stop(self) -> None:
        for server in self._running.values():
            server.ask_to_stop()
        for server in self._running.values():
            server.stop()


@contextmanager
def on_server(server: servers.Server, framework: Framework, settings: Settings) -> Iterator[Site]:
    connection, bare_connection = servers.Connection(server.port), servers.Connection(server.port)
    always = {SETTINGS_HEADER: json.dumps(settings)}

    def bare(ask: Ask) -> Answer:
        return bare_connection.send(
            Ask(ask.method, ask.path, {**ask.headers, SETTINGS_HEADER: "null"}, ask.body)
        )

    said_before = len(server.log())
    try:
        yield Site(
            framework,
            settings,
            connection.send,
            bare,
            lambda: server.log()[said_before:],
            server.port,
            always,
            server.end,
        )
    finally:
        connection.close()
        with suppress(OSError):  # a test that ended the server
            bare(Ask("GET", "/over", {"X-Endpoint": settings.get("endpoint", "")}))
        bare_connection.close()
