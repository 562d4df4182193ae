"""An endpoint whose answer comes in drops and never ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Dripping:
    """An endpoint that answers its first request well if `kept`, and the next one in drops, for ever."""

    kept: bool
    at_once: bytes
    drop: bytes
    port: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def serve(self, server: socket.socket) -> None:
        with suppress(OSError), ExitStack() as open_:
            connection = None
            for kept in (True, False) if self.kept else (False,):
                connection = connection or open_.enter_context(server.accept()[0])
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" if kept else self.at_once
                )
            while connection is not None and not self.over.wait(0.05):
                connection.sendall(self.drop)


@contextmanager
def dripping(drops: tuple[bytes, bytes], *, kept: bool = False) -> Iterator[Dripping]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(15)
        endpoint = Dripping(kept, *drops, port=server.getsockname()[1])
        thread = threading.Thread(target=endpoint.serve, args=(server,))
        thread.start()
        try:
            yield endpoint
        finally:
            endpoint.over.set()
            thread.join(10)
