"""`make conformance`: every promise on every server, each cell over a real socket, written to TABLE.md.

Run as `python tests/conformance/table.py`; with a framework, a server or both behind it for those rows alone.
Needs the `conformance` extra; says so where a server is missing.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http.client import RemoteDisconnected
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep

sys.path.insert(0, str(Path(__file__).parent.parent))

from conformance import servers
from conformance.exchange import Ask
from conformance.gates import Gate
from conformance.http2 import http2_answer
from conformance.servers import Connection, Server, raw_answer, reset
from conformance.sites import FRAMEWORKS, Framework, Site, on_server
from conformance.switchboard import SETTINGS_HEADER
from support.ports import free_port

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.testing import Collector

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
KNOWN = {"cookie": f"ko_id={ADA}"}
Promise = Callable[[Site, Collector], None]

SERVERS = {
    "asgi": (
        "uvicorn_h11",
        "uvicorn_httptools",
        "uvicorn_uvloop",
        "hypercorn",
        "granian",
        "daphne",
        "gunicorn_uvicorn",
    ),
    "wsgi": (
        "gunicorn",
        "gunicorn_gthread",
        "gunicorn_gevent",
        "waitress",
        "cheroot",
        "granian_wsgi",
        "uwsgi",
        "uwsgi_alone",
        "mod_wsgi",
    ),
}
# For development alone, each with its framework's own.
AT_HOME = {"flask": ("werkzeug",), "django": ("runserver",)}
# One of each kind everywhere; the other frameworks on two servers that have little in common.
TWICE = {
    "starlette": ("uvicorn_h11", "daphne"),
    "django-async-views": ("gunicorn", "waitress"),
    "django-asgi-sync-views": ("uvicorn_h11", "granian"),
    "litestar": ("uvicorn_h11", "granian"),
    "quart": ("uvicorn_h11", "hypercorn"),
    "falcon-asgi": ("uvicorn_h11", "daphne"),
    "falcon": ("gunicorn", "waitress"),
    "bottle": ("gunicorn", "cheroot"),
    "pyramid": ("gunicorn", "uwsgi"),
}


def arrives(site: Site, collector: Collector) -> None:
    answer = site.post("/signup")
    [batch] = collector.wait_for(1)
    assert answer.status == 200
    assert batch["profile_id"] == answer.cookies["ko_id"].value
    assert batch["email"] == "ada@example.com"


def one_cookie(site: Site, collector: Collector) -> None:
    first = site.get("/").cookies["ko_id"]
    assert first["domain"].lstrip(".") == "example.com"
    assert "ko_id" not in site.get("/", cookie=f"ko_id={first.value}").cookies


def own_cookies(site: Site, collector: Collector) -> None:
    answer = site.reply(headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/")])
    assert set(answer.cookies) == {"a", "b", "ko_id"}
    assert "ko_id" not in site.reply(headers=[("Cache-Control", "public, max-age=9")]).cookies


def same_bytes(site: Site, collector: Collector) -> None:
    assert site.port is not None
    told = json.dumps({"headers": [("X-One", "1"), ("X-One", "2")]})
    for method, path in (("GET", "/as-told"), ("HEAD", "/as-told"), ("GET", "/silent-stream")):
        ask = site.question(method, path, x_reply=told, **KNOWN)
        bare = Ask(method, path, {**ask.headers, SETTINGS_HEADER: "null"})
        with_koala, without = (_undated(raw_answer(site.port, it)) for it in (ask, bare))
        # Apache cuts chunks of its own, wherever its clock has it.
        cuts_chunks = b"Server: Apache" in without
        assert with_koala == without or (cuts_chunks and site.send(ask).own == site.bare(ask).own)
    for status in (204, 304):
        told = json.dumps({"status": status, "body": ""})
        ask = site.question("GET", "/as-told", x_reply=told, **KNOWN)
        assert site.send(ask).own == site.bare(ask).own


def _undated(raw: bytes) -> list[bytes]:
    return [line for line in raw.split(b"\r\n") if not line.lower().startswith(b"date:")]


def first_byte(site: Site, collector: Collector) -> None:
    assert site.port is not None
    connection = Connection(site.port)
    with Gate() as gate:
        response = connection.begin(site.question("GET", "/stream", x_gate=gate.address, **KNOWN))
        assert response.read1(100) == b"first,"
        gate.open()
        assert response.read() == b"second"
    connection.close()
    collector.wait_for(lambda it: len(it.events.of(ADA)) == 2)


def files(site: Site, collector: Collector) -> None:
    assert site.get("/download", **KNOWN).body == Path(servers.__file__).with_name("handlers.py").read_bytes()
    collector.wait_for(1)


def exceptions(site: Site, collector: Collector) -> None:
    with suppress(RemoteDisconnected):  # uWSGI answers an app's exception so
        assert site.get("/fail", **KNOWN).status == 500
    collector.wait_for(lambda it: "Tried" in [event.name for event in it.events.of(ADA)])
    assert json.loads(site.get("/who-am-i").body)["profile_id"] != ADA


def disconnects(site: Site, collector: Collector) -> None:
    """In the middle of a stream; and by a reset right after an answer, where nobody has read the body."""
    with Gate() as gate:
        ask = site.question("GET", "/stream", x_gate=gate.address, **KNOWN)
        lines = [f"GET {ask.path} HTTP/1.1", *(f"{name}: {value}" for name, value in ask.headers.items())]
        with socket.create_connection(("127.0.0.1", site.port or 0), timeout=10) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            while b"first," not in connection.recv(65536):
                pass
        gate.leave_open()
        collector.wait_for(lambda it: it.events.of(ADA))
    lines[0] = "POST /pricing HTTP/1.1"
    with socket.create_connection(("127.0.0.1", site.port or 0), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "Content-Length: 9", "", "unread..."]).encode())
        connection.recv(65536)
        reset(connection)
    collector.wait_for(lambda it: "Viewed Pricing" in [event.name for event in it.events.of(ADA)])


def slow_collector(site: Site, collector: Collector) -> None:
    collector.hold()
    assert [site.post("/login", **KNOWN).status for _ in range(3)] == [200] * 3
    collector.release()
    collector.wait_for(lambda it: len(it.events.tracked) == 3)


def proxy(site: Site, collector: Collector) -> None:
    site.get("/far", **KNOWN)
    collector.wait_for(1)
    collector.events.assert_tracked("Far Away", profile_id=ADA, same=True)


def consent(site: Site, collector: Collector) -> None:
    assert "ko_id" not in site.post("/signup", sec_gpc="1").cookies
    site.post("/login", **KNOWN)
    collector.wait_for(1)
    assert {batch["profile_id"] for batch in collector.batches} == {ADA}


def http2(site: Site, collector: Collector) -> None:
    """Each cookie in a field of its own, as browsers send them there; ours is the second."""
    assert site.port is not None
    ask = site.question("GET", "/who-am-i", cookie=f"first=1; ko_id={ADA}; last=1")
    assert json.loads(http2_answer(site.port, ask).body)["profile_id"] == ADA
    assert "ko_id" in http2_answer(site.port, site.question("GET", "/")).cookies


def the_end(site: Site, collector: Collector) -> None:
    """The last one of a row: nobody asks this server again."""
    site.post("/login", **KNOWN)
    assert collector.batches == []
    sleep(0.5)  # uWSGI asks no worker for its last words that is not quite done with its last response
    site.end()
    if site.settings["outbox"] is not None:
        left = Delivery(KoalaConfig(**site.settings))
        left.adopt()  # as the next start would, with its first entry
        left.close(10)
    collector.wait_for(1)


def dies_of_its_signal(framework: Framework, name: str) -> bool:
    """Whether SIGTERM ends this server as SIGKILL would: without a word to the app, or to Python."""
    without_lifespan = framework.name.startswith("django-asgi")
    return name in {"waitress", "cheroot", "werkzeug", "runserver"} or (
        without_lifespan and "uvicorn" in name
    )


PROMISES: dict[str, Promise] = {
    "arrives": arrives,
    "one cookie": one_cookie,
    "own cookies": own_cookies,
    "same bytes": same_bytes,
    "first byte": first_byte,
    "files": files,
    "exceptions": exceptions,
    "disconnects": disconnects,
    "slow collector": slow_collector,
    "proxy": proxy,
    "consent": consent,
    "HTTP/2": http2,
    "the end": the_end,
}


def cell(server: Server, framework: Framework, name: str, promise: Promise) -> str:
    if promise is http2 and name not in servers.SPEAK_HTTP2:
        return "-"
    from_disk = promise is the_end and dies_of_its_signal(framework, name)
    with Collector() as collector, TemporaryDirectory() as outbox:
        settings = {
            "public_api_key": "pk_table",
            "endpoint": collector.url,
            "flush_interval": 30.0 if promise is the_end else 0.01,
            "honor_gpc": promise is consent,
            "outbox": outbox if from_disk else None,
        }
        try:
            with on_server(server, framework, settings) as site:
                promise(site, collector)
        except Exception as error:
            print(f"      {promise.__name__}: {type(error).__name__}: {str(error)[:300]}")
            return "✗"
        return "durable" if from_disk else "✓"


def row(framework: Framework, name: str) -> str:
    port = free_port()
    print(f"{framework.name} on {name}")
    try:
        server = servers.started(getattr(servers, name)(f"conformance.apps.{framework.app}", port), port)
    except (RuntimeError, FileNotFoundError) as error:
        print("     ", error)
        cells = ["not installed"] + [""] * (len(PROMISES) - 1)
    else:
        cells = [cell(server, framework, name, promise) for promise in PROMISES.values()]
        server.stop()
    return f"| {framework.name} | {name.replace('_', ' ')} | {' | '.join(cells)} |"


def main(*words: str) -> int:
    """All rows, or only those whose framework and server are named by these words; these are not written."""
    head = f"| framework | server | {' | '.join(PROMISES)} |\n|---|---|{'---|' * len(PROMISES)}"
    rows = [
        row(framework, name)
        for framework in FRAMEWORKS
        for name in TWICE.get(framework.name, SERVERS[framework.interface] + AT_HOME.get(framework.name, ()))
        if {framework.name, name} >= set(words)
    ]
    about = Path(__file__).with_name("TABLE.head.md").read_text()
    if not words:
        Path(__file__).with_name("TABLE.md").write_text("\n".join([about, head, *rows, ""]))
    failed = sum(line.count("✗") for line in rows)
    print(f"{sum(line.count('✓') for line in rows)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(*sys.argv[1:]))
