"""A collector for tests: real HTTP on a free port, scripted answers, keeps what it receives.

Must not know how batches are made: it sees requests, as the real one does.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

from koala_middleware.config.test_runs import allowed_endpoints
from koala_middleware.testing.ports import listen_on_unused_port
from koala_middleware.testing.recorded import RecordedBatches

_WAIT = 10.0  # seconds at most


class Answer(NamedTuple):
    """The answer to one request: `Answer(429, {"Retry-After": "3"})`."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: Mapping[str, Any] = {"ok": True}


@dataclass(frozen=True)
class ReceivedRequest:
    """One request.

    Attributes:
        headers: By lower-case name.
        body: The parsed JSON.
    """

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    status: int


@dataclass
class Collector:
    """`with Collector() as collector:` then point `endpoint` at `collector.url`.

    Attributes:
        received: Every request in order, whatever was answered.
        events: The entries that were taken, to inspect and to assert on.
    """

    received: list[ReceivedRequest] = field(default_factory=list)
    events: RecordedBatches = field(default_factory=RecordedBatches)
    _script: deque[Answer] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _answering: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._answering.set()
        self._server = listen_on_unused_port(lambda: _Server(self))
        self._dead = False
        self._port_kept = socket.socket()
        self._port_kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        allowed_endpoints.add(self.url)
        threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name="koala-test-collector", daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()
        self._port_kept.close()
        allowed_endpoints.discard(self.url)

    def die(self) -> None:
        """Refuse connections from now on, like a collector that is down. The port stays reserved."""
        if self._port_kept.fileno() == -1 or self._dead:
            return
        self._dead = True
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._port_kept.bind(self._server.server_address)

    @property
    def batches(self) -> list[Mapping[str, Any]]:
        """The bodies of requests that were answered with 2xx, in order."""
        with self._changed:
            return [request.body for request in self.received if request.status < 300]  # noqa: PLR2004

    def answer(self, *answers: Answer | int) -> None:
        """Script the answers to the next requests. Later ones get 200 again."""
        self._script.extend(Answer(answer) if isinstance(answer, int) else answer for answer in answers)

    def hold(self) -> None:
        """Take requests without answering them until `release()`, like a collector that is slow."""
        self._answering.clear()

    def release(self) -> None:
        self._answering.set()

    def wait_for(
        self, condition: int | Callable[[Collector], object] = 1, timeout: float = _WAIT
    ) -> list[Mapping[str, Any]]:
        """Wait for a number of batches, or until `condition(collector)` is true. Returns all batches.

        Raises:
            TimeoutError: it did not happen within `timeout` seconds; shows what arrived.
        """
        deadline = monotonic() + timeout
        with self._changed:
            while not (len(self.batches) >= condition if isinstance(condition, int) else condition(self)):
                if not self._changed.wait(deadline - monotonic()) and monotonic() >= deadline:
                    raise TimeoutError(
                        f"the collector waited {timeout:g} s; batches received: {len(self.batches)}\n"
                        f"{self.events.summary()}"
                    )
            return self.batches

    def _take(self, path: str, headers: Mapping[str, str], raw: bytes) -> Answer:
        answer = self._script.popleft() if self._script else Answer()
        body = json.loads(raw) if raw else {}
        with self._changed:
            self.received.append(ReceivedRequest(path, headers, body, answer.status))
            if answer.status < 300:  # noqa: PLR2004
                self.events.add(body)
            self._changed.notify_all()
        self._answering.wait()
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def server_close(self) -> None:
        super().server_close()
        # Clients would go on using connections that are kept alive.
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                connection.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.collector._take(self.path, headers, body)
        written = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(written)),
            **answer.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Requests are recorded, not logged."""
