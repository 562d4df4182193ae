"""Ports of this machine: one that is free, and a server that begins to answer at one."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

from support.waiting import until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def await_port(port: int, process: subprocess.Popen[Any], log: Path, seconds: float) -> None:
    """Until the server answers there; fails with its log where it ends before or takes too long."""

    def settled() -> bool:
        return answers(port) or process.poll() is not None

    until(settled, f"{process.args!r} answers; its log is {log}", seconds)
    assert process.poll() is None, log.read_text("utf-8", "replace")
