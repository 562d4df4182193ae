"""A real endpoint on port 0 that answers as its script says, and keeps what it took."""

from __future__ import annotations

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

from koala_middleware.config import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.wire import Batch, Entry, Person

HANG = -1  # takes the request and never answers
RESET = -2  # takes the request and cuts the connection

Reply = tuple[int, dict[str, Any], dict[str, str]]  # status, JSON body, headers


def ok() -> Reply:
    return 200, {"ok": True}, {}


@dataclass(frozen=True)
class Post:
    """One request that came: when it came (monotonic), and all message ids in the order of its body."""

    at: float
    path: str
    user_agent: str
    body: dict[str, Any]
    status: int

    @property
    def ids(self) -> list[str]:
        arrays = (self.body.get(name, []) for name in ("identifies", "events", "page_views"))
        return [entry["message_id"] for array in arrays for entry in array]


@dataclass
class Endpoint:
    """`reply` decides what each request gets; `taken` are message ids answered with 2xx, in order."""

    url: str
    posts: list[Post] = field(default_factory=list)
    reply: Callable[[dict[str, Any]], Reply] = lambda _: ok()
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


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: two would wait for each other's acknowledgement

        def setup(self) -> None:
            super().setup()
            endpoint.connections += 1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer, headers = endpoint.reply(body)
            post = Post(time.monotonic(), self.path, self.headers.get("User-Agent", ""), body, status)
            with endpoint.changed:
                endpoint.posts.append(post)
                endpoint.changed.notify_all()
            if status == HANG:
                endpoint.released.wait(60)
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

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        pass  # clients of these tests cut connections on purpose


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint(url="")
    server = _Server(("127.0.0.1", 0), _handler(endpoint))
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield endpoint
    endpoint.released.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def config_for(endpoint: Endpoint) -> Callable[..., KoalaConfig]:
    def make(**settings: Any) -> KoalaConfig:
        return KoalaConfig(
            **{"public_api_key": "pk_test", "endpoint": endpoint.url, "flush_interval": 0, **settings}
        )

    return make


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

    def wait(met: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, "it did not come to that"
            threading.Event().wait(0.01)

    return wait


@pytest.fixture
def run_python(endpoint: Endpoint, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a script in a process of its own, with `delivery`, `batch` and `outbox` at hand.

    Settings are given as keywords; the script's own text is Python.
    """

    def start(script: str, **settings: Any) -> subprocess.Popen[str]:
        settings = {"public_api_key": "pk_test", "endpoint": endpoint.url, "flush_interval": 0, **settings}
        text = _PRELUDE.format(settings=settings) + textwrap.dedent(script)
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
from koala_middleware.config import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.delivery import Delivery
from koala_middleware.wire import Batch, Entry, Person

def batch(person, *ids):
    bodies = [{{"type": "track", "event": "E", "message_id": str(id_)}} for id_ in ids]
    entries = tuple(Entry("track", json.dumps(body).encode()) for body in bodies)
    return Batch(Person(profile_id=person), entries)

delivery = Delivery(KoalaConfig(**{settings!r}))
"""
