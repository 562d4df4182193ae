"""A collector for tests: real HTTP on a free port, answers by script, keeps what it is sent.

Must not know how batches come about: it sees requests, as the real one would.
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

from koala_middleware.testing.ports import on_a_new_port
from koala_middleware.testing.recorded import RecordedBatches

_PATIENCE = 10.0  # seconds; a wait for what does come ends when it comes


class Answer(NamedTuple):
    """What the collector answers one request: `Answer(429, {"Retry-After": "3"})`."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: Mapping[str, Any] = {"ok": True}


@dataclass(frozen=True)
class Received:
    """One request as it came.

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
        received: Every request that came, in order, whatever was answered.
        events: What those requests said, to ask and to assert on.
    """

    received: list[Received] = field(default_factory=list)
    events: RecordedBatches = field(default_factory=RecordedBatches)
    _script: deque[Answer] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _answering: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._answering.set()
        self._server = on_a_new_port(lambda: _Server(self))
        self._dead = False
        self._port_kept = socket.socket()
        self._port_kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name="koala-test-collector", daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()
        self._port_kept.close()

    def die(self) -> None:
        """From now on connections are refused: a collector that is down. Its port stays its own."""
        if self._port_kept.fileno() == -1 or self._dead:
            return
        self._dead = True
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._port_kept.bind(self._server.server_address)

    @property
    def batches(self) -> list[Mapping[str, Any]]:
        """The bodies that were taken, in the order they came."""
        with self._changed:
            return [request.body for request in self.received if request.status < 300]  # noqa: PLR2004

    def answer(self, *answers: Answer | int) -> None:
        """Script what the next requests are answered; then 200 again."""
        self._script.extend(Answer(answer) if isinstance(answer, int) else answer for answer in answers)

    def hold(self) -> None:
        """Take requests but do not answer them, until `release()`: a collector that is slow."""
        self._answering.clear()

    def release(self) -> None:
        self._answering.set()

    def wait_for(
        self, met: int | Callable[[Collector], object] = 1, timeout: float = _PATIENCE
    ) -> list[Mapping[str, Any]]:
        """Wait until so many batches were taken, or `met(collector)` is true, and return all batches.

        Raises:
            TimeoutError: it did not happen within `timeout` seconds; says what came.
        """
        deadline = monotonic() + timeout
        with self._changed:
            while not (len(self.batches) >= met if isinstance(met, int) else met(self)):
                if not self._changed.wait(deadline - monotonic()) and monotonic() >= deadline:
                    raise TimeoutError(
                        f"the collector waited {timeout:g} s and was sent {len(self.batches)} batches:\n"
                        f"{self.events.summary()}"
                    )
            return self.batches

    def _take(self, path: str, headers: Mapping[str, str], raw: bytes) -> Answer:
        answer = self._script.popleft() if self._script else Answer()
        body = json.loads(raw) if raw else {}
        with self._changed:
            self.received.append(Received(path, headers, body, answer.status))
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
        # Kept-alive connections would hold their threads, and the client its hope.
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                connection.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is its own business."""


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
        """Requests are kept, not logged."""
