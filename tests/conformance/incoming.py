"""Requests as a server hands them to an app, where a test is the server."""

from __future__ import annotations

from typing import Any
from wsgiref.util import setup_testing_defaults


def environment(path: str = "/", /, **more: Any) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "HTTP_HOST": "www.example.com",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        **more,
    }
    setup_testing_defaults(environ)
    return environ


def http_scope(path: str, **headers: str) -> dict[str, Any]:
    """A GET over ASGI. Keywords are header names: `x_gate="…"` is X-Gate."""
    named = {"host": "www.example.com", **headers}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
        "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 80),
    }
