"""Limits of a connection: how long a head may be and take, how long a body may take, how many there may be.

Must not know what a request is about.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

log = logging.getLogger("koala_middleware.collector")

MAX_HEAD = 64 * 1024  # bytes of a request line and headers
HEAD_SECONDS = 10.0  # from a connection's or a request's beginning to the end of its head
BODY_SECONDS = 60.0  # from there to the end of its body
SPARE_FILES = 64  # descriptors that connections leave to the database and the log
_LOG_EVERY = 60.0  # seconds
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def raise_file_limit() -> None:
    """Allow as many descriptors as the system does without asking root."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def max_connections() -> float:
    if resource is None:
        return float("inf")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else max(1, soft - SPARE_FILES)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, with limits. A request that is slower or longer than they allow is closed."""

    _deadline: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _last_logged = -_LOG_EVERY

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        if len(self.connections) > max_connections():
            self._log_too_many()
            transport.close()
        else:
            self._allow(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._allow(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._allow(BODY_SECONDS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._cancel()
        super().on_message_complete()

    def _allow(self, seconds: float) -> None:
        self._cancel()
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    @classmethod
    def _log_too_many(cls, *_: Any) -> None:
        if time.monotonic() - cls._last_logged < _LOG_EVERY:
            return
        cls._last_logged = time.monotonic()
        log.error(
            "%d connections are open, as many as this process may have: new ones are closed. Raise `ulimit -n`",
            max_connections(),
        )
