"""The promise of a middleware: the app's response goes out as if we were not there."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from conformance.exchange import Answer, Ask
from conformance.gates import Gate
from conformance.servers import Connection, raw_answer
from conformance.sites import Site
from conformance.switchboard import SETTINGS_HEADER

from koala_middleware.testing import Collector

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
KNOWN = {"cookie": f"ko_id={ADA}"}


def both(site: Site, method: str, path: str, body: bytes = b"", /, **headers: str) -> tuple[Answer, Answer]:
    """The answer to a visitor who brings their cookie, with Koala and without."""
    ask = site.question(method, path, body, **KNOWN, **headers)
    return site.send(ask), site.bare(ask)


def on_the_wire(site: Site, method: str, path: str, **headers: str) -> tuple[bytes, bytes]:
    """The bytes of both answers but for the Date."""
    assert site.port is not None
    ask = site.question(method, path, **KNOWN, **headers)
    bare = Ask(ask.method, ask.path, {**ask.headers, SETTINGS_HEADER: "null"})
    return _without_date(raw_answer(site.port, ask)), _without_date(raw_answer(site.port, bare))


def _without_date(raw: bytes) -> bytes:
    head, blank, body = raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"date:")]
    return b"\r\n".join(lines) + blank + body


TOLD: list[tuple[str, dict[str, Any]]] = [
    ("a page", {"headers": [("X-One", "1"), ("Vary", "Accept"), ("X-One", "2"), ("X-Two", "3")]}),
    ("created", {"status": 201, "headers": [("Location", "/new")]}),
    ("no content", {"status": 204, "body": ""}),
    ("a redirect", {"status": 302, "body": "", "headers": [("Location", "/elsewhere")]}),
    ("not modified", {"status": 304, "body": "", "headers": [("ETag", '"1"')]}),
    ("teapot", {"status": 418, "body": "short and stout"}),
    ("an error", {"status": 503, "headers": [("Retry-After", "3")]}),
    ("two cookies", {"headers": [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/")]}),
    ("a public page", {"headers": [("Cache-Control", "public, max-age=60"), ("ETag", '"1"')]}),
]


@pytest.mark.parametrize("told", [told for _, told in TOLD], ids=[name for name, _ in TOLD])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_status_headers_their_order_and_the_body_are_unchanged(
    site: Site, method: str, told: dict[str, Any]
) -> None:
    with_koala, without = both(site, method, "/as-told", x_reply=json.dumps(told))

    assert with_koala.own == without.own


@pytest.mark.parametrize("path", ["/silent-stream", "/as-told", "/no-such-page"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_bytes_on_the_wire_are_the_same_chunk_by_chunk(served: Site, method: str, path: str) -> None:
    with_koala, without = on_the_wire(served, method, path)

    assert with_koala == without


def test_a_handler_that_tracks_changes_no_byte_either(served: Site) -> None:
    told = json.dumps({"headers": [("X-One", "1"), ("X-One", "2")]})
    with_koala, _ = on_the_wire(served, "GET", "/as-told-and-tracked", x_reply=told)
    silent, _ = on_the_wire(served, "GET", "/as-told", x_reply=told)

    assert with_koala == silent


def test_a_new_visitors_response_has_one_cookie_and_one_cache_header_more(site: Site) -> None:
    ask = site.question("GET", "/as-told", x_reply=json.dumps({"headers": [("X-One", "1"), ("X-One", "2")]}))
    with_koala, without = site.send(ask), site.bare(ask)

    ours = [pair for pair in with_koala.own[1] if pair not in without.own[1]]
    assert sorted(name for name, _ in ours) == ["cache-control", "set-cookie"]
    assert [pair for pair in with_koala.own[1] if pair not in ours] == without.own[1]
    assert with_koala.body == without.body


def test_the_requests_body_is_the_apps_to_read(site: Site) -> None:
    body = bytes(range(256)) * 30

    with_koala, without = both(site, "POST", "/echo", body, content_type="application/octet-stream")

    assert with_koala.body == body
    assert with_koala.own == without.own


def test_a_file_arrives_whole(site: Site, koala_collector: Collector) -> None:
    answer = site.get("/download", **KNOWN)

    koala_collector.wait_for(1)
    assert b"def download" in answer.body
    assert answer.header("Content-Length") == str(len(answer.body))


def test_the_first_byte_does_not_wait_for_the_last(
    served: Site, koala_collector: Collector, gate: Gate
) -> None:
    assert served.port is not None
    connection = Connection(served.port)
    response = connection.begin(served.question("GET", "/stream", x_gate=gate.address, **KNOWN))

    assert response.read1(100) == b"first,"
    assert koala_collector.batches == []
    gate.open()
    assert response.read() == b"second"
    connection.close()
    koala_collector.wait_for(lambda collector: len(collector.events.tracked) == 2)


def test_an_exception_is_the_apps_own_500_and_earlier_calls_arrive(
    site: Site, koala_collector: Collector
) -> None:
    answer = site.get("/fail", **KNOWN)

    koala_collector.wait_for(lambda collector: "Tried" in [event.name for event in collector.events])
    assert answer.status == 500
    koala_collector.events.assert_tracked("Tried", profile_id=ADA)


@pytest.mark.only(error_page=True)
def test_the_error_page_knows_the_visitor(site: Site, koala_collector: Collector) -> None:
    answer = site.get("/fail", **KNOWN)

    koala_collector.wait_for(lambda collector: "Saw Error Page" in [event.name for event in collector.events])
    assert (answer.status, answer.body) == (500, b"sorry")
    koala_collector.events.assert_tracked("Saw Error Page", profile_id=ADA)


def test_after_an_exception_the_next_visitor_is_themselves(site: Site) -> None:
    other = "7d444840-9dc0-41d1-b245-5ffdce74fad2"
    for path in ("/fail", "/broken-stream", "/stream"):
        try:
            site.get(path, **KNOWN)
        except Exception:  # noqa: BLE001  (a cut-off answer; the next one is what counts)
            continue

    answer = site.get("/far", cookie=f"ko_id={other}")
    told = json.loads(site.get("/who-am-i", cookie=f"ko_id={other}").body)

    assert answer.status == 200
    assert told["profile_id"] == other


@pytest.mark.only(interface="wsgi")
def test_the_bodys_close_is_called_once(site: Site, koala_collector: Collector) -> None:
    answer = site.get("/closed-stream", **KNOWN)

    site.drained()
    assert answer.body == b"one,two"
    koala_collector.events.assert_tracked("Closed", profile_id=ADA, times=1)
    assert len(koala_collector.events.tracked) == 1


def test_a_visitor_who_leaves_in_the_middle_is_still_counted(
    served: Site, koala_collector: Collector, gate: Gate
) -> None:
    assert served.port is not None
    ask = served.question("GET", "/stream", x_gate=gate.address, **KNOWN)
    lines = [f"GET {ask.path} HTTP/1.1", *(f"{name}: {value}" for name, value in ask.headers.items())]
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"first," not in connection.recv(65536):
            pass
    gate.leave_open()  # some servers notice, and do not go on

    koala_collector.wait_for(lambda collector: len(collector.events.of(ADA)) >= 1)
    assert served.get("/").status == 200
