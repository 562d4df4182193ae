"""The way to the endpoint is the one that the environment asks `requests` for (proxies, tunnels, CA bundles), and what
comes of it is said in the same words whichever library goes there."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pycurl
import pytest
import trustme

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.base import Transport
from koala_middleware.delivery.transports.choosing import transport_for
from koala_middleware.delivery.transports.connecting import prepare
from koala_middleware.delivery.transports.failures import CONNECTION_LOST, NO_ANSWER, UNREADABLE_ANSWER
from koala_middleware.errors import KoalaConfigError
from koala_middleware.protocol.batches import Batch

MakeBatch = Callable[..., Batch]
Variables = pytest.MonkeyPatch
Sent = Callable[..., Answer]
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
    status: int = 200
    answer: bytes = b'{"ok": true}'
    more: dict[str, str] = field(default_factory=dict)  # headers of the answer
    before: bytes = b""  # what it says before the answer
    promised: int = 0  # bytes that the answer lacks
    stalls: bool = False  # and neither sends them nor hangs up
    cuts: list[bool] = field(default_factory=list)  # whether the next requests lose their connection
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)


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

        def setup(self) -> None:
            super().setup()
            listener.connections += 1

        def do_POST(self) -> None:
            listener.lines.append(self.path)
            listener.headers.append({name.lower(): value for name, value in self.headers.items()})
            listener.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if listener.cuts and listener.cuts.pop(0):
                self.close_connection = True
                return
            self.wfile.write(listener.before)
            self.send_response(listener.status)
            self.send_header("Content-Length", str(len(listener.answer) + listener.promised))
            for name, value in listener.more.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(listener.answer)
            if listener.stalls:
                listener.over.wait(60)
            self.close_connection = bool(listener.promised)

        def do_CONNECT(self) -> None:
            listener.tunnels.append(self.path)
            if listener.status != 200:
                self.send_error(listener.status)
                return
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
        listener.over.set()
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


@pytest.fixture(params=["http", "curl"])
def sent(request: pytest.FixtureRequest) -> Iterator[Sent]:
    """Sends to an endpoint: over a kept connection, where it is the same one."""
    with ExitStack() as stack:
        transports: dict[str, Transport] = {}

        def send(endpoint: str, batch: Batch, timeout: float = 10.0) -> Answer:
            config = KoalaConfig(public_api_key="pk_test", endpoint=endpoint, transport=request.param)
            if endpoint not in transports:
                transports[endpoint] = stack.enter_context(closing(transport_for(config)))
            return transports[endpoint].send(batch, timeout)

        yield send


@pytest.fixture(params=["fresh", "kept"])
def answered(request: pytest.FixtureRequest, sent: Sent, batch: MakeBatch) -> Sent:
    """Sends a batch to a listener, over a connection that is fresh or has brought a good answer before."""

    def send(listener: Listener, timeout: float = 10.0, **answer: Any) -> Answer:
        endpoint = f"http://127.0.0.1:{listener.port}"
        if request.param == "kept":
            assert sent(endpoint, batch("ada", 0), timeout=3600.0).status == 200
        vars(listener).update(answer)
        return sent(endpoint, batch("ada", 1), timeout)

    return send


def test_an_endpoint_may_live_below_a_path(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}/koala/", batch("ada", 1)).status == 200
    assert endpoint.lines == ["/koala" + PATH]
    assert endpoint.headers[0]["host"] == f"127.0.0.1:{endpoint.port}"


def test_a_proxy_is_asked_for_the_whole_url_and_told_the_password_it_wants(
    sent: Sent, batch: MakeBatch, environment: Variables
) -> None:
    with serving() as proxy:
        environment.setenv("HTTP_PROXY", f"http://ada:secret@127.0.0.1:{proxy.port}")
        for name in ("ada", "bo"):
            assert sent("http://collector.example/koala", batch(name, 1)).status == 200
    assert proxy.lines == ["http://collector.example/koala" + PATH] * 2
    assert [said["host"] for said in proxy.headers] == ["collector.example"] * 2
    assert [said["proxy-authorization"] for said in proxy.headers] == ["Basic YWRhOnNlY3JldA=="] * 2
    assert [body["profile_id"] for body in proxy.bodies] == ["ada", "bo"]


def test_no_proxy_where_the_environment_says_so(sent: Sent, batch: MakeBatch, environment: Variables) -> None:
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    environment.setenv("NO_PROXY", "127.0.0.1")
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
    assert endpoint.lines == [PATH]


def test_one_proxy_for_everything_where_the_environment_says_so(
    sent: Sent, batch: MakeBatch, environment: Variables
) -> None:
    with serving() as proxy:
        environment.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert sent("http://collector.example", batch("ada", 1)).status == 200
    assert proxy.lines == ["http://collector.example" + PATH]


def test_a_proxy_that_makes_no_tunnel_is_an_outage_in_words(
    sent: Sent, batch: MakeBatch, environment: Variables
) -> None:
    with serving() as proxy:
        proxy.status = 407
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert sent("https://collector.example", batch("ada", 1)) == Answer(None, "no connection")


def test_a_proxy_that_is_not_there_is_an_outage_in_words(
    sent: Sent, batch: MakeBatch, environment: Variables
) -> None:
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert sent("http://collector.example", batch("ada", 1)) == Answer(None, "connection refused")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_authority_is_believed_where_the_environment_names_it(  # noqa: PLR0917  (fixtures)
    sent: Sent, batch: MakeBatch, environment: Variables, secure: Listener, bundle: str, variable: str
) -> None:
    environment.setenv(variable, bundle)
    assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", 1)).status == 200
    assert secure.lines == [PATH]


def test_authorities_that_are_not_where_the_environment_says_are_not_replaced_by_others(
    sent: Sent, batch: MakeBatch, environment: Variables, secure: Listener, tmp_path: Path
) -> None:
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", 1)) == Answer(None, "TLS failure")


def test_an_authority_that_nobody_named_is_not_believed(
    sent: Sent, batch: MakeBatch, secure: Listener
) -> None:
    assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", 1)) == Answer(None, "TLS failure")
    assert secure.lines == []


def test_a_tunnel_leads_through_a_proxy_to_a_secure_endpoint(
    sent: Sent, batch: MakeBatch, environment: Variables, secure: Listener, bundle: str
) -> None:
    environment.setenv("REQUESTS_CA_BUNDLE", bundle)
    with serving() as proxy:
        environment.setenv("HTTPS_PROXY", f"http://ada:secret@127.0.0.1:{proxy.port}")
        for number in range(2):
            assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", number)).status == 200
    assert proxy.tunnels == [f"127.0.0.1:{secure.port}"]
    assert proxy.bodies == [], "the proxy saw what was meant for the endpoint"
    assert secure.lines == [PATH] * 2
    assert not any("proxy-authorization" in said for said in secure.headers)


def test_no_password_is_looked_up_for_the_endpoint(
    sent: Sent, batch: MakeBatch, environment: Variables, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
    assert "authorization" not in endpoint.headers[0]


def test_every_kind_of_connection_says_the_same_and_no_more(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        for number in range(2):
            sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", number, text="x" * 2_000_000))
    assert endpoint.connections == 1
    for said in endpoint.headers:
        assert int(said.pop("content-length")) > 2_000_000
        assert said == {
            "host": f"127.0.0.1:{endpoint.port}",
            "user-agent": "koala_middleware/0.1",
            "content-type": "application/json",
            "accept-encoding": "identity",
        }


def test_a_cookie_is_not_kept(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        endpoint.more = {"Set-Cookie": "visited=yes"}
        for number in range(2):
            assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", number)).status == 200
    assert endpoint.connections == 1
    assert not any("cookie" in said for said in endpoint.headers)


@pytest.mark.parametrize("status", [302, 303, 307, 308])
def test_a_redirect_is_an_answer_like_any_other(answered: Sent, status: int) -> None:
    with serving() as elsewhere, serving() as endpoint:
        there = {"Location": f"http://127.0.0.1:{elsewhere.port}/"}
        assert answered(endpoint, status=status, more=there) == Answer(status)
    assert elsewhere.connections == 0


def test_an_answer_in_gzip_is_read(answered: Sent) -> None:
    error = gzip.compress(b'{"error": "no event"}')
    with serving() as endpoint:
        said = answered(endpoint, status=422, answer=error, more={"Content-Encoding": "gzip"})
        assert said == Answer(422, "no event")


def test_an_answer_that_only_says_to_be_gzip_is_none(answered: Sent) -> None:
    with serving() as endpoint:
        assert answered(endpoint, more={"Content-Encoding": "gzip"}) == Answer(None, UNREADABLE_ANSWER)


def test_an_answer_in_chunks_is_read_to_its_end(answered: Sent, sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        chunks = b'b\r\n{"error": "\r\na\r\nno event"}\r\n0\r\n\r\n'
        said = answered(endpoint, status=422, answer=chunks, more={"Transfer-Encoding": "chunked"})
        assert said == Answer(422, "no event")
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 2)).status == 422
    assert endpoint.connections == 1


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_what_an_endpoint_says_before_its_answer_is_none(
    answered: Sent, sent: Sent, batch: MakeBatch, status: str
) -> None:
    with serving() as endpoint:
        endpoint.before = f"HTTP/1.1 {status}\r\nServer: early\r\n\r\n".encode() * 2
        assert answered(endpoint, status=422, answer=b'{"error": "no event"}') == Answer(422, "no event")
        endpoint.status = 503
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 2)).status == 503


def test_the_wait_that_an_endpoint_asks_for_is_heard(answered: Sent) -> None:
    with serving() as endpoint:
        assert answered(endpoint, status=429, more={"Retry-After": "7"}) == Answer(429, "", 7.0)


def test_a_kept_connection_that_was_cut_is_replaced_at_once(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        endpoint.cuts = [False, True, False]
        for number in range(2):
            assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", number)).status == 200
    assert [len(body["events"]) for body in endpoint.bodies] == [1, 1, 1]
    assert endpoint.connections == 2


def test_a_connection_that_was_cut_is_replaced_only_once(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        endpoint.cuts = [False, True, True, False]
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 2)) == Answer(None, CONNECTION_LOST)
    assert len(endpoint.bodies) == 3


def test_a_fresh_connection_that_was_cut_is_an_outage(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        endpoint.cuts = [True]
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)) == Answer(None, CONNECTION_LOST)
    assert len(endpoint.bodies) == 1


def test_half_an_answer_is_none(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        endpoint.promised = 10
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)) == Answer(None, CONNECTION_LOST)


def test_half_an_answer_over_a_kept_connection_is_asked_for_again(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
        endpoint.promised = 10
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 2)) == Answer(None, CONNECTION_LOST)
    assert len(endpoint.bodies) == 3


def test_nobody_there_is_said_as_such(sent: Sent, batch: MakeBatch) -> None:
    assert sent("http://127.0.0.1:9", batch("ada", 1)) == Answer(None, "connection refused")


def test_nobody_who_lets_us_in_is_said_as_such(sent: Sent, batch: MakeBatch) -> None:
    with ExitStack() as stack:
        door = stack.enter_context(socket.socket())
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        for _ in range(4):  # more than fit before a door that nobody opens
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(door.getsockname())
        answer = sent(f"http://127.0.0.1:{door.getsockname()[1]}", batch("ada", 1), timeout=0.2)
    assert answer == Answer(None, "no connection in time")


def test_an_answer_that_does_not_come_in_time_may_still_come(answered: Sent) -> None:
    with serving() as endpoint:
        answer = answered(endpoint, timeout=0.2, promised=10, stalls=True)
    assert answer == Answer(None, NO_ANSWER)
    assert answer.may_have_it


def test_an_endpoint_that_says_nothing_may_still_have_it(sent: Sent, batch: MakeBatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = sent(f"http://127.0.0.1:{silent.getsockname()[1]}", batch("ada", 1), timeout=0.2)
    assert answer == Answer(None, NO_ANSWER)
    assert answer.may_have_it


def test_where_tls_is_expected_and_is_not_spoken_it_fails_as_such(sent: Sent, batch: MakeBatch) -> None:
    with serving() as plain:
        assert sent(f"https://127.0.0.1:{plain.port}", batch("ada", 1)) == Answer(None, "TLS failure")


def test_what_is_no_http_is_no_answer(sent: Sent, batch: MakeBatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as strange:
        greeter = threading.Thread(target=greet, args=(strange,))
        greeter.start()
        answer = sent(f"http://127.0.0.1:{strange.getsockname()[1]}", batch("ada", 1))
        greeter.join(10)
    assert answer == Answer(None, CONNECTION_LOST)


def greet(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"220 mail.example ESMTP\r\n")


@pytest.mark.parametrize("sent", ["http"], indirect=True)
def test_what_an_endpoint_says_before_it_hangs_up_is_no_answer(sent: Sent, batch: MakeBatch) -> None:
    """libcurl takes it for one. Then nothing is lost either: 408 is sent again, only later."""
    answered, hung_up = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        impatient = threading.Thread(target=lose_patience, args=(server, answered, hung_up))
        impatient.start()
        for number in range(2):
            assert sent(f"http://127.0.0.1:{server.getsockname()[1]}", batch("ada", number)).status == 200
            answered.set()
            assert hung_up.wait(10)
        impatient.join(10)


def lose_patience(server: socket.socket, answered: threading.Event, hung_up: threading.Event) -> None:
    """Answers, and says 408 when it has had enough of waiting for the next request; twice."""
    with ExitStack() as open_:
        for _ in range(2):
            connection = open_.enter_context(server.accept()[0])
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            answered.wait(10)
            connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            hung_up.set()


def test_an_answer_is_read_no_further_than_anybody_needs(answered: Sent) -> None:
    with serving() as endpoint:
        assert answered(endpoint, answer=b"x" * 100_000, promised=10**9, stalls=True).status == 200


def test_what_nobody_has_read_is_not_taken_for_the_next_answer(
    answered: Sent, sent: Sent, batch: MakeBatch
) -> None:
    with serving() as endpoint:
        answered(endpoint, answer=b"HTTP/1.1 422 \r\n" * 10_000)
        before, endpoint.answer = len(endpoint.bodies), b"{}"
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 2)).status == 200
    assert (endpoint.connections, len(endpoint.bodies) - before) == (2, 1)


def test_an_endpoint_that_keeps_no_connection_gets_one_for_each_request(
    answered: Sent, sent: Sent, batch: MakeBatch
) -> None:
    with serving() as endpoint:
        answered(endpoint, more={"Connection": "close"})
        before = endpoint.connections
        for number in range(2, 4):
            assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", number)).status == 200
    assert endpoint.connections == before + 2


def test_libcurl_which_bounds_the_whole_gives_a_large_body_time_to_travel(batch: MakeBatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as slow:
        reader = threading.Thread(target=read_late, args=(slow, 0.5))
        reader.start()
        endpoint = f"http://127.0.0.1:{slow.getsockname()[1]}"
        config = KoalaConfig(public_api_key="pk_test", endpoint=endpoint, transport="curl")
        with closing(transport_for(config)) as transport:
            assert transport.send(batch("ada", 1, text="x" * 2_000_000), 0.2).status == 200
        reader.join(10)


def read_late(server: socket.socket, seconds: float) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as came:
        threading.Event().wait(seconds)
        length = next(int(line.split()[1]) for line in came if line.lower().startswith(b"content-length"))
        while came.readline() != b"\r\n":
            pass
        came.read(length)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_a_pycurl_that_cannot_say_how_long_to_wait_is_refused_while_the_app_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(pycurl, "RETRY_AFTER")
    monkeypatch.delitem(sys.modules, "koala_middleware.delivery.transports.curl_connection", raising=False)
    monkeypatch.delitem(sys.modules, "gevent", raising=False)  # else, nothing is loaded before it has patched
    with pytest.raises(KoalaConfigError, match=r"pip install --upgrade 'koala-middleware\[curl\]'"):
        prepare("curl")


def test_where_gevent_has_patched_sockets_curl_is_left_alone_and_that_is_said_once() -> None:
    """libcurl waits in C: all greenlets of the process would wait with it."""
    code = """
from gevent import monkey; monkey.patch_all()
import logging, sys; logging.basicConfig(stream=sys.stdout, format="%(message)s")
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports import choosing
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.subjects import Person
config = KoalaConfig(public_api_key="pk_test", endpoint=sys.argv[1], transport="curl")
choosing.prepare(config)
for _ in range(2):
    assert choosing.transport_for(config).send(Batch(Person("ada"), ()), 5.0).taken
assert "pycurl" not in sys.modules
"""
    with serving() as endpoint:
        command = [sys.executable, "-c", code, f"http://127.0.0.1:{endpoint.port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    [line] = done.stdout.splitlines()
    assert line.startswith('transport="curl" would stop all of a gevent worker; "http" is used instead')
