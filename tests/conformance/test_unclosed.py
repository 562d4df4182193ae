"""Calls in an exchange that is never ended: servers that drop a response without closing it, and apps that are
cancelled before they have answered."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from conformance.gates import Gate
from conformance.incoming import environment, http_scope
from conformance.servers import reset
from conformance.sites import FRAMEWORKS, Framework
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.serving import make_server

from koala_middleware.testing import Collector

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
WSGI = [framework for framework in FRAMEWORKS if framework.interface == "wsgi"]
ASGI = [framework for framework in FRAMEWORKS if framework.interface == "asgi"]
Serve = Callable[[Any], Any]


def app_of(framework: Framework, collector: Collector) -> Any:
    return framework.app_with(
        {"public_api_key": "pk_test", "endpoint": collector.url, "flush_interval": 0.01}
    )


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """So that what is seen does not hang on when garbage is collected."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# A server that drops the response


def begins_to_answer(app: Any, path: str) -> None:
    """As a server does that sends the first part of a response, and then forgets it."""
    next(iter(app(environment(path, HTTP_COOKIE=f"ko_id={ADA}"), lambda *_: None)))


@pytest.mark.parametrize("framework", WSGI, ids=lambda it: it.name)
def test_a_response_that_the_server_drops_unclosed_loses_nothing(
    framework: Framework, koala_collector: Collector
) -> None:
    with no_garbage_collection():
        begins_to_answer(app_of(framework, koala_collector), "/signup")

        koala_collector.wait_for(lambda it: it.events.of(ADA))


@pytest.mark.parametrize("framework", WSGI, ids=lambda it: it.name)
def test_a_stream_that_is_dropped_in_the_middle_loses_nothing_once_it_is_garbage(
    framework: Framework, koala_collector: Collector
) -> None:
    begins_to_answer(app_of(framework, koala_collector), "/stream")
    gc.collect()

    koala_collector.wait_for(lambda it: it.events.of(ADA))


@contextmanager
def werkzeugs(app: Any) -> Iterator[int]:
    """`flask run`."""
    with _running(make_server("127.0.0.1", 0, app, threaded=True)) as port:
        yield port


@contextmanager
def djangos(app: Any) -> Iterator[int]:
    """`manage.py runserver`."""
    server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(app)
    with _running(server) as port:
        yield port


@contextmanager
def _running(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("serve", [werkzeugs, djangos])
@pytest.mark.parametrize("framework", WSGI, ids=lambda it: it.name)
def test_a_browser_that_resets_its_connection_to_a_development_server_loses_nothing(
    framework: Framework, serve: Serve, koala_collector: Collector
) -> None:
    with serve(app_of(framework, koala_collector)) as port:
        # The body is announced and never read: these servers look for it once they have answered.
        head = f"POST /signup HTTP/1.1\r\nHost: www.example.com\r\nCookie: ko_id={ADA}\r\nContent-Length: 9\r\n\r\n"
        visitor = socket.create_connection(("127.0.0.1", port), timeout=10)
        visitor.sendall(head.encode())
        visitor.recv(65536)
        reset(visitor)

        koala_collector.wait_for(lambda it: it.events.of(ADA))


# An app that does not come to its end


@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")  # Django's: of a cancelled request's body
@pytest.mark.parametrize("framework", ASGI, ids=lambda it: it.name)
def test_a_request_that_the_server_cancels_loses_nothing(
    framework: Framework, koala_collector: Collector, gate: Gate
) -> None:
    scope = http_scope("/stream", cookie=f"ko_id={ADA}", x_gate=gate.address)

    async def cancelled_in_the_middle() -> None:
        asked = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not asked.is_set():
                asked.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            """Over a connection that takes everything."""

        request = asyncio.create_task(app_of(framework, koala_collector)(scope, receive, send))
        with await asyncio.to_thread(gate.held) as waiting:
            request.cancel()
            await asyncio.sleep(0)
            waiting.sendall(b"!")
        with suppress(asyncio.CancelledError):
            await request

    with no_garbage_collection():
        asyncio.run(cancelled_in_the_middle())
        koala_collector.wait_for(lambda it: it.events.of(ADA))
    gc.collect()
