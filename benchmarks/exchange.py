"""What one exchange pays: a request with its cookie that records nothing, and one call in a handler.

Every variant runs in this process, in turn, many short rounds each; the table shows medians of CPU time over
the bare app. Run it with `make bench`.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import django
from asgi_correlation_id import CorrelationIdMiddleware
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path
from mixpanel import Mixpanel
from posthog import Posthog
from segment.analytics.client import Client
from starlette.middleware.sessions import SessionMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wsgi import ClosingIterator

from koala_middleware import KoalaClient
from koala_middleware.asgi import KoalaMiddleware as AsgiKoala
from koala_middleware.wsgi import KoalaMiddleware as WsgiKoala

Once = Callable[[], object]
CALLS = 500  # of one variant, before it is the next one's turn
COOKIE = "cart=eyJjYXJ0IjogWzEsIDJdfQ; ko_id=3e6a2c18-3b02-40c4-b8d2-1842c193d3ba; theme=dark"
# What Chromium sends with a click on a link.
HEADERS = {
    "host": "www.example.com",
    "connection": "keep-alive",
    "upgrade-insecure-requests": "1",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "sec-fetch-site": "same-origin",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "referer": "https://www.example.com/pricing",
    "accept-encoding": "gzip, deflate, br, zstd",
    "accept-language": "en-GB,en;q=0.9",
    "cookie": COOKIE,
}
PROPERTIES = {"method": "password", "plan": "pro", "seats": 3}
SETTINGS = {"public_api_key": "pk_bench", "endpoint": "http://127.0.0.1:9", "delivery": "off"}


def asgi_variants() -> dict[str, Once]:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]}
    body = {"type": "http.response.body", "body": b"Hello"}
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        # Copies, as frameworks make new ones: middlewares add to the headers in place.
        await send({**start, "headers": list(start["headers"])})  # type: ignore[call-overload]
        await send(body)

    async def send(message: Any) -> None: ...

    class Wrapper:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    def once(app: Any) -> Once:
        def call() -> None:
            scope = {
                "type": "http",
                "method": "GET",
                "scheme": "https",
                "path": "/",
                "headers": headers,
                "state": {},
            }
            try:
                app(scope, None, send).send(None)
            except StopIteration:
                return

        return call

    return {
        "bare": once(app),
        "a wrapper that does nothing": once(Wrapper(app)),
        "koala_middleware": once(AsgiKoala(app, **SETTINGS)),  # type: ignore[arg-type]
        "Starlette's SessionMiddleware": once(SessionMiddleware(app, "secret")),
        "asgi-correlation-id": once(CorrelationIdMiddleware(app)),
    }


def environ() -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "wsgi.url_scheme": "https",
        "wsgi.input": BytesIO(),
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in HEADERS.items()},
    }


def served(app: Any) -> Once:
    """One request as a WSGI server makes it."""
    fresh = environ()

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None: ...

    def call() -> None:
        body = app(dict(fresh), start_response)
        for _ in body:
            pass
        if (close := getattr(body, "close", None)) is not None:
            close()

    return call


def wsgi_variants() -> dict[str, Once]:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"Hello"]

    def wrapper(environ: Any, start_response: Any) -> list[bytes]:
        return app(environ, start_response)

    def closing(environ: Any, start_response: Any) -> ClosingIterator:
        return ClosingIterator(app(environ, start_response), lambda: None)

    return {
        "bare": served(app),
        "a wrapper that does nothing": served(wrapper),
        "a wrapper with a ClosingIterator": served(closing),
        "koala_middleware": served(WsgiKoala(app, **SETTINGS)),  # type: ignore[arg-type]
        "werkzeug's ProxyFix": served(ProxyFix(app)),  # type: ignore[arg-type]
    }


class DjangoWrapper:
    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)


def django_variants() -> dict[str, Once]:
    urls = (path("", lambda _: HttpResponse(b"Hello")),)
    settings.configure(
        ROOT_URLCONF=urls,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="secret",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        **{f"KOALA_{name.upper()}": value for name, value in SETTINGS.items()},
    )
    django.setup()

    def handler(*middleware: str) -> Once:
        settings.MIDDLEWARE = list(middleware)
        return served(WSGIHandler())

    return {
        "bare": handler(),
        "a middleware that does nothing": handler(f"{__name__}.DjangoWrapper"),
        "koala_middleware": handler("koala_middleware.django.KoalaMiddleware"),
        "Django's SessionMiddleware": handler("django.contrib.sessions.middleware.SessionMiddleware"),
    }


def peer_calls() -> dict[str, Once]:
    """The same event by peers, told to build it and send nothing."""
    segment_client = Client("key", send=False)
    posthog_client = Posthog("key", host="http://127.0.0.1:9", send=False)
    mixpanel_client = Mixpanel("token", consumer=NullConsumer())
    return {
        "mixpanel, track": lambda: mixpanel_client.track("ada", "Logged In", dict(PROPERTIES)),
        "segment, track": lambda: segment_client.track("ada", "Logged In", dict(PROPERTIES)),
        "posthog, capture": lambda: posthog_client.capture(
            "Logged In", distinct_id="ada", properties=dict(PROPERTIES)
        ),
    }


class NullConsumer:
    """Takes Mixpanel's encoded event, and forgets it."""

    def send(self, *_: object) -> None: ...


def call_variants() -> dict[str, Once]:
    client = KoalaClient(**SETTINGS)  # type: ignore[arg-type]
    manager = client.person(profile_id="3e6a2c18-3b02-40c4-b8d2-1842c193d3ba", email="ada@example.com")
    koala = manager.__enter__()
    calls: dict[str, Once] = {
        "bare": lambda: None,
        "koala.track, no property": lambda: koala.track("Logged In"),
        "koala.track, three properties": lambda: koala.track("Logged In", dict(PROPERTIES)),
        "koala.identify, three traits": lambda: koala.identify("ada@example.com", dict(PROPERTIES)),
        **peer_calls(),
    }

    def forgetting(call: Once) -> Once:
        def once() -> None:
            call()
            taken.clear()

        taken = koala._calls
        return once

    return {name: forgetting(call) for name, call in calls.items()}


def compare(variants: Mapping[str, Once], rounds: int) -> dict[str, float]:
    """Of each variant: microseconds of CPU time a call, above the bare one. Medians of interleaved rounds."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, once in variants.items():
            taken[name].append(_round(once))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return {name: value - (medians["bare"] if name != "bare" else 0) for name, value in medians.items()}


def _round(once: Once) -> float:
    gc.collect()
    begun = time.thread_time_ns()
    for _ in range(CALLS):
        once()
    return (time.thread_time_ns() - begun) / CALLS / 1000


FAMILIES: dict[str, Callable[[], dict[str, Once]]] = {
    "ASGI": asgi_variants,
    "WSGI": wsgi_variants,
    "Django": django_variants,
    "in a handler": call_variants,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "families", nargs="*", default=[], help=f"of {', '.join(FAMILIES)}; all if none is named"
    )
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    for name in arguments.families or FAMILIES:
        print(f"\n{name}: microseconds above the bare app")
        for variant, cost in compare(FAMILIES[name](), arguments.rounds).items():
            print(f"  {cost:8.2f}  {variant}")


if __name__ == "__main__":
    main()
