"""A real endpoint that answers as each test says, and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from koala_middleware import KoalaClient
from koala_middleware.testing.ports import listen_on_unused_port

SECRET = "sk_do_not_show_me"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


Answer = tuple[int, Any]  # status, JSON


@dataclass
class Endpoint:
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Answer] = lambda _: (200, {})
    released: Event = field(default_factory=Event)  # set when the test is over: answers that hang end

    def client(self, **settings: Any) -> KoalaClient:
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


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, json.loads(body) if body else None)
            found.asked.append(asked)
            status, said = found.answer(asked)
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            with suppress(ConnectionError):  # who asked has given up
                self.reply(status, content)

        def reply(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815  (the server's name for it)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = listen_on_unused_port(lambda: ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    found.released.set()
    server.shutdown()
    thread.join()
    server.server_close()
