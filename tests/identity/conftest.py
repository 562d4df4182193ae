"""One site in three frameworks, driven without a server: header bytes in, header bytes out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Protocol

import django
import pytest
from django.conf import settings as django_settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import re_path

from koala_middleware import KoalaClient, KoalaContext
from koala_middleware.asgi import KoalaMiddleware as AsgiMiddleware
from koala_middleware.delivery.report import DeliveryReport
from koala_middleware.django import middleware as django_middleware
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.subjects import Person
from koala_middleware.wsgi import KoalaMiddleware as WsgiMiddleware

Headers = Sequence[tuple[str, str]]
Handler = Callable[[KoalaContext], Iterable[tuple[str, str]] | None]
BODY = b"the app's own answer"


class Recorder:
    """Stands where delivery stands, and keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.drops: dict[str, int] = {}

    def put(self, batch: Batch) -> None:
        self.batches.append(batch)

    def dropped(self, entries: int, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + entries

    def flush(self, timeout: float | None = None) -> DeliveryReport:  # noqa: ARG002  (nothing to wait for)
        return DeliveryReport(complete=True, delivered=0, waiting=0, refused=0, dropped=0, seconds=0.0)

    close = flush

    @property
    def said(self) -> list[tuple[str | None, str | None, list[str]]]:
        """Of each batch: profile id, email, and what was said: `"identify"`s, then event names, in order."""
        return [
            (batch.subject.profile_id, batch.subject.email, [_name(entry.body) for entry in batch.entries])
            for batch in self.batches
            if isinstance(batch.subject, Person)
        ]


def _name(body: bytes) -> str:
    entry = json.loads(body)
    return str(entry.get("event") or entry.get("type", "page"))


@dataclass
class Answer:
    """A response as the server got it: lower-case header names, in order, one pair a field."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def set_cookies(self) -> list[str]:
        return [value for value in self.values("set-cookie") if value.startswith("ko_id=")]

    @property
    def ko_id(self) -> str | None:
        """The id set, if one was."""
        return self.set_cookies[0].partition("=")[2].partition(";")[0] if self.set_cookies else None


class Call(Protocol):
    def __call__(self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Answer: ...


@dataclass
class Site:
    """An app behind the middleware.

    Attributes:
        handler: What the app does with `request.koala`; it gives the headers of the app's answer.
        status: The app's status.
    """

    framework: str
    build: Callable[[Site, Mapping[str, Any]], Call]
    handler: Handler = lambda _: None
    status: int = 200
    delivery: Recorder = field(default_factory=Recorder)
    _call: Call | None = None

    def __call__(self, **settings: Any) -> Site:
        """With these settings."""
        self._call = self.build(self, {"public_api_key": "pk_test", **settings})
        return self

    def get(self, path: str = "/", **headers: str) -> Answer:
        """`get("/", cookie="ko_id=…", sec_fetch_site="none")`; the host is www.example.com unless given."""
        return self.request("GET", path, **headers)

    def request(self, method: str, path: str = "/", **headers: str) -> Answer:
        fields = {"host": "www.example.com", **headers}
        return self.raw(
            method,
            path,
            [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()],
        )

    def raw(self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Answer:
        if self._call is None:
            self()
        assert self._call is not None
        return self._call(method, path, headers)

    def answered(self, koala: KoalaContext) -> list[tuple[str, str]]:
        return list(self.handler(koala) or ())


def _finished(coroutine: Awaitable[None]) -> None:
    """Run a coroutine that waits for nothing: no event loop needed."""
    with pytest.raises(StopIteration):
        coroutine.__await__().__next__()


def _client(site: Site, settings: Mapping[str, Any]) -> KoalaClient:
    client = KoalaClient(**settings)
    client._pipeline.delivery = site.delivery  # type: ignore[assignment]  # stands in for it
    return client


def asgi_site(site: Site, settings: Mapping[str, Any]) -> Call:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = site.answered(scope["koala"])
        fields = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": site.status, "headers": fields})
        await send({"type": "http.response.body", "body": BODY})

    middleware = AsgiMiddleware(app, _client(site, settings))

    def call(method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Answer:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "scheme": "http", "path": path, "headers": list(headers)}
        _finished(middleware(scope, None, send))  # type: ignore[arg-type]  # this app receives nothing
        start, *body = sent
        fields = [(name.decode().lower(), value.decode("latin-1")) for name, value in start["headers"]]
        return Answer(start["status"], fields, b"".join(message["body"] for message in body))

    return call


def wsgi_call(app: Any, method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Answer:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": "",
        "SERVER_NAME": "server.internal",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
    }
    for name, value in headers:
        key = "HTTP_" + name.decode().upper().replace("-", "_")
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text  # as gunicorn joins fields
    started: list[Any] = []
    body = app(environ, lambda *head: started.append(head))
    try:
        sent = b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()
    status, fields = started[-1][:2]
    return Answer(int(status[:3]), [(name.lower(), value.strip()) for name, value in fields], sent)


def wsgi_site(site: Site, settings: Mapping[str, Any]) -> Call:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(f"{site.status} Said", site.answered(environ["koala"]))
        return [BODY]

    middleware = WsgiMiddleware(app, _client(site, settings))
    return lambda method, path, headers: wsgi_call(middleware, method, path, headers)


def django_site(site: Site, settings: Mapping[str, Any]) -> Call:
    def view(request: HttpRequest) -> HttpResponse:
        response = HttpResponse(BODY, status=site.status)
        del response.headers["Content-Type"]
        for name, value in site.answered(request.koala):  # type: ignore[attr-defined]  # the middleware's
            if name.lower() == "set-cookie":
                response.cookies.load(value)
            else:
                response.headers[name] = value
        return response

    class Middleware(django_middleware.KoalaMiddleware):
        def __init__(self, get_response: Any) -> None:
            super().__init__(get_response)
            self.client._pipeline.delivery = site.delivery  # type: ignore[assignment]  # stands in for it

    site_settings = {f"KOALA_{name.upper()}": value for name, value in settings.items()}
    urls = (re_path(".*", view),)
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[], **site_settings):
        handler = WSGIHandler()
        inner = handler._middleware_chain  # type: ignore[attr-defined]
        handler._middleware_chain = Middleware(inner)  # type: ignore[attr-defined]

    def call(method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Answer:
        with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
            return wsgi_call(handler, method, path, headers)

    return call


SITES = {"ASGI": asgi_site, "WSGI": wsgi_site, "Django": django_site}


@pytest.fixture(scope="session", autouse=True)
def _django_is_set_up() -> None:
    if not django_settings.configured:
        django_settings.configure(ALLOWED_HOSTS=["*"])
        django.setup()


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    """A site whose handler does what the test says, in each framework."""
    return Site(request.param, SITES[request.param])
