"""Servers on ports that no earlier server of this process had.

Entries for one test's server may arrive late, and must not reach the next test's. Must not know what servers answer.
"""

from __future__ import annotations

from collections.abc import Callable
from http.server import HTTPServer
from typing import TypeVar

Server = TypeVar("Server", bound=HTTPServer)

_used_ports: set[int] = set()


def listen_on_unused_port(listen: Callable[[], Server]) -> Server:
    """The server that `listen` makes, on a new port.

    Args:
        listen: Makes a server on port 0.
    """
    while (server := listen()).server_port in _used_ports:
        server.server_close()
    _used_ports.add(server.server_port)
    return server
