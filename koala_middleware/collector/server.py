"""Runs the app on uvicorn: binds the port, prints the address, stops promptly.

Must not know what the app does, only that `close_streams` ends its streams.
"""

from __future__ import annotations

import gc
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from koala_middleware.collector.connections import BoundedProtocol, raise_file_limit

_GARBAGE = 50_000  # objects allocated before a collection
GRACE = 5  # seconds for running requests when the server stops


class _Server(uvicorn.Server):
    """uvicorn's server. It ends the app's streams when it begins to stop, since they would delay it."""

    def __init__(self, config: uvicorn.Config, app: Starlette, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.should_exit and hasattr(self._app.state, "collector"):
            self._app.state.collector.close_streams()


def serve(app: Starlette, host: str, port: int, open_page: bool = False) -> None:
    """Serve until SIGINT or SIGTERM. The first line on stdout is `Collector: http://…`, with the real port."""
    listening = _bind(host, port)
    url = f"http://{_shown_host(host)}:{listening.getsockname()[1]}"
    raise_file_limit()
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
        access_log=False,
        proxy_headers=False,  # the app's own middleware believes trusted proxies only
    )
    server = _Server(config, app, lambda: _announce(url, open_page))
    gc.set_threshold(_GARBAGE)  # requests leave few reference cycles
    server.run(sockets=[listening])
    if not server.started:
        raise SystemExit(1)  # the log has the reason


def _announce(url: str, open_page: bool) -> None:
    sys.stdout.write(f"Collector: {url}\n")
    sys.stdout.flush()
    if open_page:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SystemExit(
            f"Cannot listen on {host}:{port} ({error.strerror}). Give another --port; 0 takes a free one."
        ) from None
    except OverflowError:
        listening.close()
        raise SystemExit(f"--port is {port}, expected 0 to 65535; 0 takes a free one.") from None
    listening.listen(1024)
    return listening


def _shown_host(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (as requested)
        return "localhost"
    return f"[{host}]" if ":" in host else host
