"""A cable between a client and a server that can be cut: a TCP proxy on a port of its own."""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType
from typing import Self

_READ = 64 * 1024


class Cable:
    """While cut, nothing passes and nobody is told: as when packets are lost. Mended, what was said passes.

    `tear()` is the other kind of trouble: every connection is reset.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._server = (host, port)
        self._ends: dict[socket.socket, socket.socket] = {}
        self._whole = threading.Event()
        self._whole.set()
        self._torn = threading.Event()
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="cable", daemon=True)

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def tear(self) -> None:
        self._torn.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self.mend()
        self._thread.join(5)
        for end in (self._listener, *self._ends):
            end.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._ended:
            if self._torn.is_set():
                self._torn.clear()
                for end in list(self._ends):
                    self._drop(end)
            if not self._whole.wait(0.05):
                continue
            for key, _ in self._selector.select(0.05):
                self._pass(key.fileobj)

    def _pass(self, ready: object) -> None:
        if ready is self._listener:
            self._join(self._listener.accept()[0])
        elif isinstance(ready, socket.socket) and ready in self._ends:
            try:
                said = ready.recv(_READ)
                if said:
                    self._ends[ready].sendall(said)
                    return
            except OSError:
                pass
            self._drop(ready)

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._server, timeout=5)
        except OSError:
            client.close()
            return
        for end, other in ((client, server), (server, client)):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends[end] = other
            self._selector.register(end, selectors.EVENT_READ)

    def _drop(self, end: socket.socket) -> None:
        if end in self._ends:
            for one in (end, self._ends[end]):
                del self._ends[one]
                self._selector.unregister(one)
                one.close()
