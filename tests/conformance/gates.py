"""A gate: a handler waits at it until the test opens it. So order is made, not hoped for."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Gate:
    """`address` is what the handler connects to; it goes on once the test has opened."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def held(self) -> socket.socket:
        """Wait until the handler has come. It goes on once something is sent to it."""
        waiting, _ = self._listener.accept()
        return waiting

    def open(self) -> None:
        """Wait until the handler has come, and let it through."""
        with self.held() as waiting:
            waiting.sendall(b"!")

    def leave_open(self) -> None:
        """Let everybody through from now on, if anybody comes at all."""

        def let_through() -> None:
            with suppress(OSError):  # closed: the test is over
                while True:
                    self.open()

        threading.Thread(target=let_through, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
