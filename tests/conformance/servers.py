"""Real servers, each started once on a free port as its manual says, and asked over real sockets."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from conformance.exchange import Answer, Ask
from support.ports import answers
from support.waiting import until

TESTS = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
_PATIENCE = 20.0  # seconds that a server may take to start, on a busy machine


def uvicorn(app: str, port: int) -> list[str]:
    return [
        *(str(BIN / "uvicorn"), app, "--host", "127.0.0.1", "--port", str(port)),
        *("--no-access-log", "--log-level", "warning", "--lifespan", "on"),
    ]


def gunicorn(app: str, port: int) -> list[str]:
    return [
        *(str(BIN / "gunicorn"), app, "--bind", f"127.0.0.1:{port}", "--workers", "1"),
        *("--log-level", "warning", "--worker-tmp-dir", "/dev/shm", "--no-control-socket"),
    ]


def uvicorn_h11(app: str, port: int) -> list[str]:
    return [*uvicorn(app, port), "--http", "h11", "--loop", "asyncio"]


def uvicorn_httptools(app: str, port: int) -> list[str]:
    return [*uvicorn(app, port), "--http", "httptools", "--loop", "asyncio"]


def uvicorn_uvloop(app: str, port: int) -> list[str]:
    return [*uvicorn(app, port), "--http", "httptools", "--loop", "uvloop"]


def hypercorn(app: str, port: int) -> list[str]:
    return [str(BIN / "hypercorn"), app, "--bind", f"127.0.0.1:{port}"]


def granian(app: str, port: int) -> list[str]:
    return [*_granian(app, port), "--interface", "asgi"]


def granian_wsgi(app: str, port: int) -> list[str]:
    return [*_granian(app, port), "--interface", "wsgi"]


def _granian(app: str, port: int) -> list[str]:
    return [str(BIN / "granian"), app, "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]


def daphne(app: str, port: int) -> list[str]:
    return [str(BIN / "daphne"), "--bind", "127.0.0.1", "--port", str(port), "--verbosity", "0", app]


def gunicorn_gthread(app: str, port: int) -> list[str]:
    return [*gunicorn(app, port), "--worker-class", "gthread", "--threads", "4"]


def gunicorn_http2(app: str, port: int) -> list[str]:
    """HTTP/2 alone: without TLS it has to be known before."""
    return [
        *gunicorn_gthread(app, port),
        *("--http-protocols", "h2,h1", "--http2-cleartext", "prior-knowledge"),
    ]


def gunicorn_gevent(app: str, port: int) -> list[str]:
    return [*gunicorn(app, port), "--worker-class", "gevent"]


def gunicorn_uvicorn(app: str, port: int) -> list[str]:
    return [*gunicorn(app, port), "--worker-class", "uvicorn_worker.UvicornWorker"]


def waitress(app: str, port: int) -> list[str]:
    # By default it gathers 18 kB before it sends a byte; streams ask for less.
    return [str(BIN / "waitress-serve"), f"--listen=127.0.0.1:{port}", "--send-bytes=1", app]


def cheroot(app: str, port: int) -> list[str]:
    return [str(BIN / "cheroot"), app, "--bind", f"127.0.0.1:{port}"]


def uwsgi(app: str, port: int) -> list[str]:
    return [*uwsgi_alone(app, port), "--master", "--enable-threads", "--threads", "4"]


def uwsgi_alone(app: str, port: int) -> list[str]:
    """One process that serves one request at a time, and is its own master."""
    return [
        *(str(BIN / "uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--wsgi", app),
        *("--die-on-term", "--disable-logging", "--need-app"),
    ]


def mod_wsgi(app: str, port: int) -> list[str]:
    module, _, name = app.partition(":")
    # Apache serves as nobody's root: started by root, it needs a Python that others may read, too.
    user = ["--user", "www-data", "--group", "www-data"] if os.getuid() == 0 else []
    return [
        *(str(BIN / "mod_wsgi-express"), "start-server", module, "--application-type", "module"),
        *("--callable-object", name, "--host", "127.0.0.1", "--port", str(port), *user),
        *("--log-to-terminal", "--locale", "C.UTF-8", "--python-path", str(TESTS)),
    ]


def werkzeug(app: str, port: int) -> list[str]:
    """What `flask run` runs."""
    return _called("from werkzeug.serving import run_simple", f"run_simple('127.0.0.1', {port}, {{}})", app)


def runserver(app: str, port: int) -> list[str]:
    """What `manage.py runserver` runs."""
    how = f"run('127.0.0.1', {port}, {{}}, threading=True)"
    return _called("from django.core.servers.basehttp import run", how, app)


def _called(imports: str, how: str, app: str) -> list[str]:
    module, _, name = app.partition(":")
    return [sys.executable, "-c", f"import {module} as site; {imports}; {how.format(f'site.{name}')}"]


# Beside HTTP/1.1, by prior knowledge and without TLS.
SPEAK_HTTP2 = {"hypercorn", "granian", "granian_wsgi"}


@dataclass
class Server:
    """A running server. `log()` is what it has written so far."""

    process: subprocess.Popen[bytes]
    port: int
    output: IO[bytes]

    def log(self) -> str:
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Stop as an operator stops it, and wait until it has."""
        self.ask_to_stop()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        self.end()
        self.output.close()


def started(command: list[str], port: int, **environment: str) -> Server:
    output = TemporaryFile()  # noqa: SIM115  (lives as long as the server)
    process = subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        cwd=TESTS,
    )
    server = Server(process, port, output)
    until(lambda: answers(port) or process.poll() is not None, f"{command} answers", _PATIENCE)
    if process.poll() is not None:
        raise RuntimeError(f"{command} did not start:\n{server.log()}")
    return server


class Connection:
    """One kept-alive connection of one client, so that requests are served one after the other."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def send(self, ask: Ask) -> Answer:
        response = self.begin(ask)
        return Answer(response.status, response.getheaders(), response.read())

    def begin(self, ask: Ask) -> http.client.HTTPResponse:
        """Send, and return with the head alone; the body is read as it comes."""
        headers = {"Content-Length": str(len(ask.body)), **ask.headers} if ask.body else dict(ask.headers)
        try:
            self._http.request(ask.method, ask.path, ask.body or None, headers)
            return self._http.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # The server closed a connection it had kept: ask again on a new one.
            self._http.close()
            self._http.request(ask.method, ask.path, ask.body or None, headers)
            return self._http.getresponse()

    def close(self) -> None:
        self._http.close()


def reset(connection: socket.socket) -> None:
    """Leave as a browser in a hurry does: not with a goodbye, but with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def raw_answer(port: int, ask: Ask) -> bytes:
    """The very bytes of a response, from the status line to the end, as they were on the wire."""
    lines = [
        f"{ask.method} {ask.path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in ask.headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        received = b""
        while part := connection.recv(65536):
            received += part
    return received
