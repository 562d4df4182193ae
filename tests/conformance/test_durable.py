"""With a durable outbox, calls are on disk before the client sees a byte of the response."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conformance.incoming import environment, http_scope
from conformance.sites import FRAMEWORKS, Framework
from support.endpoint import BatchEndpoint

Seen = Callable[[bytes], None]


def answered(framework: Framework, settings: dict[str, Any], path: str, seen: Seen) -> None:
    """Has the framework's app answer; `seen` gets each part of the body where a server would send it."""
    app = framework.app_with(settings)
    if framework.interface == "wsgi":
        _over_wsgi(app, path, seen)
    else:
        asyncio.run(_over_asgi(app, path, seen))


def _over_wsgi(app: Any, path: str, seen: Seen) -> None:
    body = app(environment(path), lambda *_: None)
    for chunk in body:
        seen(chunk)
    seen(b"")  # a server says now that there is no more
    with suppress(AttributeError):
        body.close()


async def _over_asgi(app: Any, path: str, seen: Seen) -> None:
    coming = [{"type": "http.request", "body": b"", "more_body": False}]
    complete = asyncio.Event()

    async def receive() -> Any:
        if not coming:
            await complete.wait()
            return {"type": "http.disconnect"}
        return coming.pop()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            seen(message.get("body", b""))
            if not message.get("more_body", False):
                complete.set()

    await app(http_scope(path), receive, send)


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda it: it.name)
def test_the_calls_of_a_handler_are_on_disk_before_a_byte_of_the_body_is_sent(
    framework: Framework, tmp_path: Path
) -> None:
    settings = {"public_api_key": "pk_test", "outbox": str(tmp_path), "delivery": "relay"}
    on_disk: list[int] = []

    answered(
        framework, settings, "/signup", lambda _: on_disk.append(_times_said(tmp_path, b"Created Account"))
    )

    assert on_disk
    assert set(on_disk) == {1}


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda it: it.name)
def test_the_calls_of_a_stream_are_on_disk_before_the_next_chunk_is_sent(
    framework: Framework, tmp_path: Path
) -> None:
    settings = {"public_api_key": "pk_test", "outbox": str(tmp_path), "delivery": "relay"}
    on_disk: dict[bytes, int] = {}

    def note(chunk: bytes) -> None:
        on_disk[chunk] = _times_said(tmp_path, b"Streamed")

    answered(framework, settings, "/stream", note)

    assert on_disk == {b"first,": 1, b"second": 2, b"": 2}


def _times_said(outbox: Path, name: bytes) -> int:
    return sum(path.read_bytes().count(name) for path in outbox.rglob("*") if path.is_file())


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda it: it.name)
def test_a_process_whose_visitors_record_nothing_delivers_what_a_dead_one_left(
    framework: Framework, tmp_path: Path
) -> None:
    with BatchEndpoint() as endpoint:
        settings = {"public_api_key": "pk_test", "outbox": str(tmp_path), "endpoint": endpoint.url}
        dies = (
            "import os, sys\nfrom koala_middleware import KoalaClient\n"
            f"client = KoalaClient(**{settings | {'delivery': 'relay'}!r})\n"
            "with client.person(email='ada@example.com') as koala: koala.track('Left Behind')\n"
            "os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", dies], check=True)
        answered(framework, settings, "/", lambda _: None)
        assert endpoint.wait_for_posts(1)
