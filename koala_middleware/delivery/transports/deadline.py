"""Connections of urllib3 with one deadline for everything: connecting, TLS, sending, and each byte of the answer.

A socket's own timeout starts again with each byte, so an endpoint that sends one a second is never late. Must not know
why a deadline is set, or what is said after it.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from urllib3.connection import HTTPConnection

from koala_middleware.delivery.transports import failures

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_TUNNEL_REFUSED = re.compile(
    r"Tunnel connection failed: (\d+)"
)  # http.client has no attribute for the status


_SLACK = 0.05  # seconds; setting a timeout is a system call, so one that is nearly right stays


class Deadline:
    """When the request under way has to be over. For one thread."""

    def __init__(self) -> None:
        self._at = 0.0
        self._set_until = 0.0  # the socket's timeout is right until then

    def start(self, timeout: float) -> None:
        self._at, self._set_until = time.monotonic() + timeout, 0.0

    def left(self) -> float:
        """Seconds, more than none. Raises TimeoutError after the deadline."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def limit(self, sock: socket.socket) -> None:
        """Lets the next step of a connection take what is left. Raises TimeoutError after the deadline."""
        now = time.monotonic()
        if now >= self._at:
            raise TimeoutError
        if now >= self._set_until:
            sock.settimeout(self._at - now)
            self._set_until = now + _SLACK


class NotConnectedError(OSError):
    """Nothing was sent to the endpoint.

    Attributes:
        failure: One of the words in `failures`.
        tunnel_status: HTTP status with which a proxy refused a tunnel.
    """

    def __init__(self, failure: str, tunnel_status: int | None = None) -> None:
        super().__init__(failure)
        self.failure = failure
        self.tunnel_status = tunnel_status


@cache
def timed_connection_class(base: type[HTTPConnection], *, socks: bool) -> type[HTTPConnection]:
    """The class of a pool's connections, with a deadline.

    Args:
        socks: It connects through a SOCKS proxy, which is left to PySocks.
    """
    timed = _TimedConnection if socks else _DirectConnection
    return type(timed.__name__, (timed, base), {})


class _TimedConnection(HTTPConnection):
    """Put before the class of a pool's connections."""

    def __init__(self, *args: Any, deadline: Deadline, **options: Any) -> None:
        self._deadline = deadline
        super().__init__(*args, **options)

    @property
    def timeout(self) -> float:
        """What urllib3 and PySocks set at each step of their own, and name in their errors."""
        try:
            return self._deadline.left()
        except TimeoutError:
            return 0.001

    @timeout.setter
    def timeout(self, value: object) -> None:
        pass

    def connect(self) -> None:
        try:
            super().connect()
        except NotConnectedError:
            raise
        except TimeoutError:
            raise NotConnectedError(failures.CONNECT_TIMEOUT) from None
        except OSError as error:
            refused = _TUNNEL_REFUSED.search(str(error))
            if refused is None:
                raise
            status = int(refused[1])
            raise NotConnectedError(failures.tunnel_refused(status), status) from None

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self._deadline.limit(self.sock)
        super().send(data)

    def response_class(  # type: ignore[override]  # called like the class it stands for
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None
    ) -> http.client.HTTPResponse:
        timed = cast("socket.socket", _TimedSocket(sock, self._deadline))
        return _TimedResponse(timed, debuglevel, method)


class _DirectConnection(_TimedConnection):
    def _new_conn(self) -> socket.socket:
        """Connects to the first address of the host that answers.

        urllib3 would give the whole timeout to each address; here they share what is left.
        """
        failure = failures.HOST_NOT_FOUND
        addresses = self._addresses()
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(self._deadline.left() / (len(addresses) - number))
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.connect(address)
                sock.settimeout(self._deadline.left())
            except OSError as error:
                sock.close()
                failure = _connect_failure(error)
            else:
                return sock
        raise NotConnectedError(failure)

    def _addresses(self) -> list[Any]:
        try:
            return socket.getaddrinfo(self.host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return []


def _connect_failure(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return failures.CONNECTION_REFUSED
    return failures.CONNECT_TIMEOUT if isinstance(error, TimeoutError) else failures.NO_CONNECTION


class _TimedResponse(http.client.HTTPResponse):
    def begin(self) -> None:
        """Skips interim responses such as 103. http.client skips 100 alone, and would take the rest of them for the
        next request's response."""
        super().begin()
        while HTTPStatus.SWITCHING_PROTOCOLS < self.status < HTTPStatus.OK:
            self.headers = None  # type: ignore[assignment]  # as it was before the first
            super().begin()


class _TimedSocket:
    """What http.client's response needs of a socket: a file to read from, here until the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        raw = self._sock.makefile("rb", buffering=0)
        return io.BufferedReader(_TimedReader(raw, self._sock, self._deadline))


class _TimedReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: Deadline) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        self._deadline.limit(self._sock)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._raw.close()
