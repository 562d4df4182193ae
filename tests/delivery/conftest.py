"""A real endpoint on port 0 that answers as its script says, and keeps what it took."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.waiting import until

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person
from koala_middleware.testing.ports import listen_on_unused_port

HANG = -1  # takes the request and never answers
RESET = -2  # takes the request and cuts the connection

Reply = tuple[int, dict[str, Any], dict[str, str]]  # status, JSON body, headers


def ok() -> Reply:
    return 200, {"ok": True}, {}


@dataclass(frozen=True)
class Post:
    """One batch that came, in a request of its own or in a line of a bulk: when it came (monotonic), and all
    message ids in the order of its body."""

    at: float
    path: str
    user_agent: str
    body: dict[str, Any]
    status: int

    @property
    def ids(self) -> list[str]:
        arrays = (self.body.get(name, []) for name in ("identifies", "events", "page_views"))
        return [entry["message_id"] for array in arrays for entry in array]


@dataclass(repr=False)
class Endpoint:
    """`reply` decides what each batch gets; `taken` are message ids answered with 2xx, in order.

    Attributes:
        bulk: Whether its bootstrap offers bulk.
        asked: How often somebody wanted to know.
        bulks: How many batches were in each bulk that came.
        reply_to_bulk: What a bulk gets as a whole, by its number of lines; None: an answer for each line.
    """

    url: str
    posts: list[Post] = field(default_factory=list)
    reply: Callable[[dict[str, Any]], Reply] = lambda _: ok()
    bulk: bool = False
    asked: int = 0
    bulks: list[int] = field(default_factory=list)
    reply_to_bulk: Callable[[int], Reply | None] = lambda _: None
    connections: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def taken(self) -> list[str]:
        with self.changed:
            return [id_ for post in self.posts if 200 <= post.status < 300 for id_ in post.ids]

    def wait_for(self, met: Callable[[], bool], seconds: float = 20.0) -> bool:
        with self.changed:
            return self.changed.wait_for(met, seconds)

    def wait_for_posts(self, number: int, seconds: float = 20.0) -> bool:
        return self.wait_for(lambda: len(self.posts) >= number, seconds)

    def hang(self) -> None:
        """From now on requests are taken and never answered, until `released` is set."""
        self.answer(HANG)

    def answer(self, status: int, body: dict[str, Any] | None = None, **headers: str) -> None:
        """From now on every request gets this."""
        self.reply = lambda _: (status, body or {}, headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *args: object) -> None:
        pass  # clients of these tests cut connections on purpose


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for each other's acknowledgement

    def setup(self) -> None:
        super().setup()
        self.server.endpoint.connections += 1

    def do_GET(self) -> None:
        self.server.endpoint.asked += 1
        self.answer(200, {"bulk": self.server.endpoint.bulk}, {})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/bulk"):
            lines = [json.loads(line) for line in gzip.decompress(content).splitlines()]
            self.answer(*self.replied_to_bulk(lines))
        else:
            body = json.loads(content)
            status, answer, headers = self.server.endpoint.reply(body)
            self.keep([(body, status)])
            self.answer(status, answer, headers)

    def replied_to_bulk(self, lines: list[dict[str, Any]]) -> Reply:
        whole = self.server.endpoint.reply_to_bulk(len(lines))
        replies = [whole or self.server.endpoint.reply(line) for line in lines]
        self.server.endpoint.bulks.append(len(lines))
        self.keep([(line, status) for line, (status, *_) in zip(lines, replies, strict=True)])
        lost = next((reply for reply in replies if reply[0] < 0), None)
        if whole or lost:
            return whole or lost or ok()
        headers = {name: value for reply in replies for name, value in reply[2].items()}
        return 207, {"answers": [{"status": status, **body} for status, body, _ in replies]}, headers

    def keep(self, came: list[tuple[dict[str, Any], int]]) -> None:
        at, agent = time.monotonic(), self.headers.get("User-Agent", "")
        with self.server.endpoint.changed:
            self.server.endpoint.posts += [Post(at, self.path, agent, body, status) for body, status in came]
            self.server.endpoint.changed.notify_all()

    def answer(self, status: int, answer: dict[str, Any], headers: dict[str, str]) -> None:
        if status == HANG:
            self.server.endpoint.released.wait(60)
        if status < 0:
            self.close_connection = True
            return
        content = b"" if status == 204 else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint(url="")
    server = listen_on_unused_port(lambda: _Server(endpoint))
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield endpoint
    endpoint.released.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def transport() -> str:
    """What this test's batches go by. A module that names several holds what is true of each."""
    return "http"


@pytest.fixture
def defaults(endpoint: Endpoint, transport: str) -> dict[str, Any]:
    return {
        "public_api_key": "pk_test",
        "endpoint": endpoint.url,
        "transport": transport,
        "flush_interval": 0,
    }


@pytest.fixture
def config_for(defaults: dict[str, Any]) -> Callable[..., KoalaConfig]:
    return lambda **settings: KoalaConfig(**{**defaults, **settings})


def event(message_id: str | int, **more: Any) -> Entry:
    body = {"type": "track", "event": "E", "message_id": str(message_id), **more}
    return Entry("track", json.dumps(body).encode())


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """`batch("ada", 1, 2)`: two events of one person."""

    def make(person: str, *message_ids: str | int, **more: Any) -> Batch:
        return Batch(
            Person(profile_id=person), tuple(event(message_id, **more) for message_id in message_ids)
        )

    return make


@pytest.fixture
def deliver(config_for: Callable[..., KoalaConfig]) -> Iterator[Callable[..., Delivery]]:
    """Makes deliveries to the endpoint; closed at the test's end without waiting for anything."""
    made: list[Delivery] = []

    def make(**settings: Any) -> Delivery:
        made.append(Delivery(config_for(**settings)))
        return made[-1]

    yield make
    for delivery in made:
        delivery.close(0)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits until something that nobody announces is so; fails after some seconds."""

    return lambda met, seconds=20.0: until(met, seconds=seconds)


@pytest.fixture
def run_python(defaults: dict[str, Any], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a script in a process of its own, with `delivery`, `batch` and `outbox` at hand.

    Settings are given as keywords; the script's own text is Python.
    """

    def start(script: str, **settings: Any) -> subprocess.Popen[str]:
        text = _PRELUDE.format(settings={**defaults, **settings}) + textwrap.dedent(script)
        return subprocess.Popen(
            [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", text],  # forks are meant
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    return start


_PRELUDE = """
import json, os, signal, sys, time
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.delivery import Delivery
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person

def batch(person, *ids):
    bodies = [{{"type": "track", "event": "E", "message_id": str(id_)}} for id_ in ids]
    entries = tuple(Entry("track", json.dumps(body).encode()) for body in bodies)
    return Batch(Person(profile_id=person), entries)

delivery = Delivery(KoalaConfig(**{settings!r}))
"""
