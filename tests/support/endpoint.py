"""A fake endpoint: a real HTTP server on a port of its own that answers as a test says, and keeps what it was asked.

`JsonEndpoint` is for calls that wait for an answer, `BatchEndpoint` for deliveries. What a browser needs of one is
in tests/collector/browser/conftest.py.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

from koala_middleware import KoalaClient
from koala_middleware.testing.ports import listen_on_unused_port

SECRET = "sk_do_not_show_me"
HANG = -1  # a status: takes the request and never answers
RESET = -2  # a status: takes the request and cuts the connection


@dataclass(frozen=True)
class Asked:
    """One request, with lower-case header names, and when it came (monotonic)."""

    at: float
    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    @cached_property
    def body(self) -> Any:
        """The content as JSON; None without one."""
        return json.loads(self.content) if self.content else None

    @property
    def host(self) -> str:
        """The name it was asked under, without the port."""
        return self.headers["host"].partition(":")[0]


@dataclass(frozen=True)
class Reply:
    status: int
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def reply_with(status: int, body: Any, headers: dict[str, str] | None = None) -> Reply:
    """A reply with a JSON body, or with the bytes themselves."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, b"" if status == 204 else content, headers or {})


class Endpoint(ABC):
    """Listens within a `with` block.

    Attributes:
        url: Where it listens, without a path.
        connections: How many were opened.
        released: Set when the test is over: requests that hang end.
        changed: Notified whenever something came.
    """

    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self.connections = 0
        self.released = threading.Event()
        self.changed = threading.Condition()

    @abstractmethod
    def respond(self, asked: Asked) -> Reply:
        """What a request gets; called on a thread of the connection's own."""

    def wait_for(self, met: Callable[[], bool], seconds: float = 20.0) -> bool:
        with self.changed:
            return self.changed.wait_for(met, seconds)

    def __enter__(self) -> Self:
        self._server = listen_on_unused_port(lambda: _Server(self))
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def hang_up(self) -> None:
        """Ends the connections that clients keep."""
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *args: object) -> None:
        pass  # clients of these tests cut connections on purpose


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for each other's acknowledgement

    def setup(self) -> None:
        super().setup()
        self.server.endpoint.connections += 1
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        if len(content) < length:  # the client died in the middle of its request
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(time.monotonic(), self.command, self.path, headers, content)
        self._send(self.server.endpoint.respond(asked))

    do_GET = do_POST  # noqa: N815  (the server's name for it)

    def _send(self, reply: Reply) -> None:
        if reply.status == HANG:
            self.server.endpoint.released.wait(60)
        if reply.status < 0:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)

    def log_message(self, *_arguments: object) -> None:
        pass


Answer = tuple[int, Any]  # status, and JSON or bytes


class JsonEndpoint(Endpoint):
    """`answer` decides what each request gets; `asked` are the requests, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Answer] = lambda _: (200, {})

    def respond(self, asked: Asked) -> Reply:
        with self.changed:
            self.asked.append(asked)
            self.changed.notify_all()
        return reply_with(*self.answer(asked))

    def client(self, **settings: Any) -> KoalaClient:
        """A client whose every call comes here; nothing of it leaves by the clock."""
        return KoalaClient(
            **{
                "public_api_key": "pk_api",
                "endpoint": self.url,
                "app_endpoint": self.url,
                "secret_api_key": SECRET,
                "flush_interval": 6000,
                **settings,
            }
        )


@pytest.fixture(name="endpoint")
def json_endpoint() -> Iterator[JsonEndpoint]:
    with JsonEndpoint() as listening:
        yield listening


BatchReply = tuple[int, dict[str, Any], dict[str, str]]  # status, JSON body, headers


@dataclass(frozen=True)
class Post:
    """One batch that came, in a request of its own or in a line of a bulk, and its message ids in order."""

    at: float
    path: str
    user_agent: str
    body: dict[str, Any]
    status: int

    @property
    def ids(self) -> list[str]:
        arrays = (self.body.get(name, []) for name in ("identifies", "events", "page_views"))
        return [entry["message_id"] for array in arrays for entry in array]


class BatchEndpoint(Endpoint):
    """`reply` decides what each batch gets; `taken` are the message ids answered with 2xx, in order.

    Attributes:
        bulk: Whether its bootstrap offers bulk.
        asked: How often somebody wanted to know.
        bulks: How many batches were in each bulk that came.
        reply_to_bulk: What a bulk gets as a whole, by its number of lines; None: an answer for each line.
    """

    def __init__(self) -> None:
        super().__init__()
        self.posts: list[Post] = []
        self.reply: Callable[[dict[str, Any]], BatchReply] = lambda _: (200, {"ok": True}, {})
        self.bulk = False
        self.asked = 0
        self.bulks: list[int] = []
        self.reply_to_bulk: Callable[[int], BatchReply | None] = lambda _: None

    @property
    def taken(self) -> list[str]:
        with self.changed:
            return [id_ for post in self.posts if 200 <= post.status < 300 for id_ in post.ids]

    def wait_for_posts(self, number: int, seconds: float = 20.0) -> bool:
        return self.wait_for(lambda: len(self.posts) >= number, seconds)

    def hang(self) -> None:
        """From now on requests are taken and never answered, until `released` is set."""
        self.answer(HANG)

    def answer(self, status: int, body: dict[str, Any] | None = None, **headers: str) -> None:
        """From now on every request gets this."""
        self.reply = lambda _: (status, body or {}, headers)

    def respond(self, asked: Asked) -> Reply:
        if asked.method == "GET":
            self.asked += 1
            return reply_with(200, {"bulk": self.bulk})
        if asked.path.endswith("/bulk"):
            lines = [json.loads(line) for line in gzip.decompress(asked.content).splitlines()]
            return reply_with(*self._replied_to_bulk(asked, lines))
        reply = self.reply(asked.body)
        self._keep(asked, [(asked.body, reply[0])])
        return reply_with(*reply)

    def _replied_to_bulk(self, asked: Asked, lines: list[dict[str, Any]]) -> BatchReply:
        whole = self.reply_to_bulk(len(lines))
        replies = [whole or self.reply(line) for line in lines]
        self.bulks.append(len(lines))
        self._keep(asked, [(line, status) for line, (status, *_) in zip(lines, replies, strict=True)])
        cut = next((reply for reply in replies if reply[0] < 0), None)
        if whole or cut:
            return whole or cut or replies[0]
        headers = {name: value for reply in replies for name, value in reply[2].items()}
        return 207, {"answers": [{"status": status, **body} for status, body, _ in replies]}, headers

    def _keep(self, asked: Asked, came: list[tuple[dict[str, Any], int]]) -> None:
        agent = asked.headers.get("user-agent", "")
        with self.changed:
            self.posts += [Post(asked.at, asked.path, agent, body, status) for body, status in came]
            self.changed.notify_all()
