"""The way to the endpoint is the one that the environment asks `requests` for: proxies, tunnels, CA bundles."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from koala_middleware.config import KoalaConfig
from koala_middleware.delivery.answers import Answer
from koala_middleware.delivery.http import HttpTransport
from koala_middleware.wire import Batch

MakeBatch = Callable[..., Batch]
Variables = pytest.MonkeyPatch
PATH = "/web/projects/pk_test/batch"
_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass
class Listener:
    """What came to a server that takes everything: request lines, headers, bodies, tunnels."""

    port: int = 0
    lines: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)
    answer: bytes = b'{"ok": true}'


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        pass  # a client that does not believe our certificate hangs up


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Listener]:
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            listener.lines.append(self.path)
            listener.headers.append({name.lower(): value for name, value in self.headers.items()})
            listener.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", str(len(listener.answer)))
            self.end_headers()
            self.wfile.write(listener.answer)

        def do_CONNECT(self) -> None:
            listener.tunnels.append(self.path)
            host, _, port = self.path.partition(":")
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            with socket.create_connection((host, int(port)), timeout=10) as there:
                back = threading.Thread(target=pump, args=(there, self.connection))
                back.start()
                pump(self.connection, there)
                back.join(10)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    listener.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Bytes from one to the other, until either ends."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Listener]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(context) as listener:
        yield listener


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return str(tmp_path / "authority.pem")


def sent(endpoint: str, batch: Batch) -> Answer:
    transport = HttpTransport(KoalaConfig(public_api_key="pk_test", endpoint=endpoint))
    try:
        return transport.send(batch, 10.0)
    finally:
        transport.close()


def test_an_endpoint_may_live_below_a_path(batch: MakeBatch) -> None:
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}/koala/", batch("ada", 1)).status == 200
    assert endpoint.lines == ["/koala" + PATH]
    assert endpoint.headers[0]["host"] == f"127.0.0.1:{endpoint.port}"


def test_a_proxy_is_asked_for_the_whole_url_and_told_the_password_it_wants(
    batch: MakeBatch, environment: Variables
) -> None:
    with serving() as proxy:
        environment.setenv("HTTP_PROXY", f"http://ada:secret@127.0.0.1:{proxy.port}")
        assert sent("http://collector.example/koala", batch("ada", 1)).status == 200
    assert proxy.lines == ["http://collector.example/koala" + PATH]
    assert proxy.headers[0]["host"] == "collector.example"
    assert proxy.headers[0]["proxy-authorization"] == "Basic YWRhOnNlY3JldA=="
    assert proxy.bodies[0]["profile_id"] == "ada"


def test_no_proxy_where_the_environment_says_so(batch: MakeBatch, environment: Variables) -> None:
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    environment.setenv("NO_PROXY", "127.0.0.1")
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
    assert endpoint.lines == [PATH]


def test_a_proxy_that_is_not_there_is_an_outage_in_words(batch: MakeBatch, environment: Variables) -> None:
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert sent("http://collector.example", batch("ada", 1)) == Answer(None, "connection refused")


def test_a_private_authority_is_believed_where_the_environment_names_it(
    batch: MakeBatch, environment: Variables, secure: Listener, bundle: str
) -> None:
    environment.setenv("REQUESTS_CA_BUNDLE", bundle)
    assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", 1)).status == 200
    assert secure.lines == [PATH]


def test_an_authority_that_nobody_named_is_not_believed(batch: MakeBatch, secure: Listener) -> None:
    assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", 1)) == Answer(None, "TLS failure")
    assert secure.lines == []


def test_a_tunnel_leads_through_a_proxy_to_a_secure_endpoint(
    batch: MakeBatch, environment: Variables, secure: Listener, bundle: str
) -> None:
    environment.setenv("REQUESTS_CA_BUNDLE", bundle)
    with serving() as proxy:
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", 1)).status == 200
    assert proxy.tunnels == [f"127.0.0.1:{secure.port}"]
    assert proxy.bodies == [], "the proxy saw what was meant for the endpoint"
    assert secure.lines == [PATH]


def test_no_password_is_looked_up_for_the_endpoint(
    batch: MakeBatch, environment: Variables, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
    assert "authorization" not in endpoint.headers[0]


def test_an_endless_answer_is_not_read(batch: MakeBatch) -> None:
    with serving() as endpoint:
        endpoint.answer = b"x" * 50_000_000
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
