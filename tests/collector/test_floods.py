"""Heads, bodies and connections that never end, and pages that many people look at."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from support.collecting import DEADLINE, Running, event, listening, on_both_stores
from support.collector_process import AGENT, batch_url, started

from koala_middleware.collector import connections, create_app
from koala_middleware.collector.pages import live


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=DEADLINE)


def test_a_head_that_never_ends_is_refused_while_others_are_served(tmp_path: Path) -> None:
    with started(tmp_path / "koala.db") as (_, url), connected(url) as flooding:
        flooding.sendall(b"GET / HTTP/1.1\r\nX-Flood: ")
        with pytest.raises(OSError, match=r"."):
            flooding.sendall(b"x" * 40 * 1024 * 1024)
        body = {"profile_id": "p1", "events": [event("x")]}
        assert requests.post(batch_url(url), json=body, headers=AGENT, timeout=DEADLINE).ok


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a head"])
def test_a_connection_that_does_not_send_its_head_is_closed(collector_with_limits: str, sent: bytes) -> None:
    with connected(collector_with_limits) as idle:
        idle.sendall(sent)
        assert idle.recv(1) == b""


def test_a_body_that_does_not_end_is_closed(collector_with_limits: str) -> None:
    with connected(collector_with_limits) as slow:
        slow.sendall(b"POST /web/projects/pk/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert slow.recv(1) == b""


def test_more_connections_than_descriptors_are_closed_and_said(
    collector_with_limits: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "max_connections", lambda: 0)
    with connected(collector_with_limits) as refused:
        assert refused.recv(1) == b""
    assert "Raise `ulimit -n`" in caplog.text


@on_both_stores
def test_a_long_body_is_shown_from_its_beginning_with_a_link_to_all_of_it(collector: Running) -> None:
    collector.send(
        profile_id="p1", email="ada@example.com", events=[event("x", properties={"a": "y" * 30_000})]
    )
    for path in ("/", "/people/1"):
        page = collector.get(path).text
        assert "/entries/1" in page
        assert len(page) < 30_000
    assert "y" * 30_000 in collector.get("/entries/1").text
    assert collector.get("/entries/2").status_code == 404


def test_pages_are_compressed_and_streams_are_not(collector: Running) -> None:
    assert collector.get("/").headers["content-encoding"] == "gzip"
    with collector.session.get(f"{collector.url}/live/stream", stream=True, timeout=DEADLINE) as stream:
        assert "content-encoding" not in stream.headers


def test_viewers_of_the_same_page_share_one_rendering(
    collector: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[Any] = []
    once = live._new_rows

    def counting(*given: Any) -> Any:
        rendered.append(given)
        return once(*given)

    monkeypatch.setattr(live, "_new_rows", counting)
    app, wanted = collector.app.state.collector, live.LiveFilter("", "", "")
    collector.send(profile_id="p1", events=[event("x")])

    async def sixty() -> list[Any]:
        app.renderings.clear()
        return await asyncio.gather(*(live._shared(app, wanted, (0, 0), (1, 1)) for _ in range(60)))

    rows = asyncio.run(sixty())
    assert len(rendered) == 1
    assert len({row[1] for row in rows}) == 1


@pytest.fixture
def collector_with_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A collector with the server's own protocol class, and short limits."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.2)
    with listening(create_app(tmp_path / "koala.db"), http=connections.BoundedProtocol) as running:
        yield running.url
