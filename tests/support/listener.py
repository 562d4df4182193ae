"""An HTTP server, endpoint or proxy, that records what comes and answers as it is told."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Listener:
    """What a server that takes everything has received, and what it answers."""

    port: int = 0
    lines: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)
    status: int = 200
    answer: bytes = b'{"ok": true}'
    more: dict[str, str] = field(default_factory=dict)  # headers of the answer
    before: bytes = b""  # what it says before the answer
    promised: int = 0  # bytes that the answer lacks
    stalls: bool = False  # and neither sends them nor hangs up
    cuts: list[bool] = field(default_factory=list)  # whether the next requests lose their connection
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        pass  # a client that does not trust our certificate hangs up


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Listener]:
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def setup(self) -> None:
            super().setup()
            listener.connections += 1

        def do_POST(self) -> None:
            listener.lines.append(self.path)
            listener.headers.append({name.lower(): value for name, value in self.headers.items()})
            listener.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if listener.cuts and listener.cuts.pop(0):
                self.close_connection = True
                return
            self.wfile.write(listener.before)
            self.send_response(listener.status)
            self.send_header("Content-Length", str(len(listener.answer) + listener.promised))
            for name, value in listener.more.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(listener.answer)
            if listener.stalls:
                listener.over.wait(60)
            self.close_connection = bool(listener.promised)

        def do_CONNECT(self) -> None:
            listener.tunnels.append(self.path)
            if listener.status != 200:
                self.send_error(listener.status)
                return
            host, _, port = self.path.partition(":")
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            with socket.create_connection((host, int(port)), timeout=10) as there:
                back = threading.Thread(target=pump, args=(there, self.connection))
                back.start()
                pump(self.connection, there)
                back.join(10)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    listener.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield listener
    finally:
        listener.over.set()
        server.shutdown()
        server.server_close()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Bytes from one to the other, until either ends."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
