"""Ports that are listened on once in a process: what was said for one server may be sent late, and must not reach
the next test's.

Must not know what the servers answer.
"""

from __future__ import annotations

from collections.abc import Callable
from http.server import HTTPServer
from typing import TypeVar

Server = TypeVar("Server", bound=HTTPServer)

_had: set[int] = set()


def on_a_new_port(listen: Callable[[], Server]) -> Server:
    """What `listen` makes, on a port that no server made here has had. `listen` asks for port 0."""
    while (server := listen()).server_port in _had:
        server.server_close()
    _had.add(server.server_port)
    return server
