"""A request has one deadline for everything: connecting, TLS, sending, and every byte of the answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from support.dripping import dripping
from support.listener import serving

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.choosing import transport_for
from koala_middleware.delivery.transports.failures import NO_ANSWER
from koala_middleware.protocol.batches import Batch

MakeBatch = Callable[..., Batch]
Variables = pytest.MonkeyPatch
Sent = Callable[..., Answer]

TIMEOUT = 0.5
OVER = 15.0  # seconds; what takes longer than this has no deadline

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# What an endpoint sends at once, and what it sends then, again and again, as if it would end some time.
DRIPPING = {
    "the status line": (b"HTTP/1.1 200 ", b"O"),
    "a header": (b"HTTP/1.1 200 OK\r\nServer: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
    "the body": (HEAD + b"\r\n", b" "),
    "the body in chunks": (CHUNKED, b"1\r\n \r\n"),
    "the size of a chunk": (CHUNKED, b"0"),
    "the body in gzip": (HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x10" + b"\x00" * 6, b"x"),
    "responses of 100": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "responses of 102": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
}


@contextmanager
def in_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < OVER


@pytest.mark.parametrize("kept", [False, True], ids=["fresh", "kept"])
@pytest.mark.parametrize("drops", DRIPPING.values(), ids=DRIPPING)
def test_an_answer_that_comes_in_drops_ends_at_the_deadline(
    sent: Sent, batch: MakeBatch, drops: tuple[bytes, bytes], kept: bool
) -> None:
    with dripping(drops, kept=kept) as endpoint, in_time():
        url = f"http://127.0.0.1:{endpoint.port}"
        if kept:
            assert sent(url, batch("ada", 0), OVER).taken
        answer = sent(url, batch("ada", 1), TIMEOUT)
    assert answer == Answer(None, NO_ANSWER)
    assert answer.may_have_it


def test_the_time_to_connect_counts_against_the_deadline(
    monkeypatch: pytest.MonkeyPatch, batch: MakeBatch
) -> None:
    """Half of the time goes to an address that does not answer, so half of it is left for the answer."""
    timeouts: list[float | None] = []
    settimeout, here = socket.socket.settimeout, threading.get_ident()

    def recorded(sock: socket.socket, timeout: float | None) -> None:
        if threading.get_ident() == here:  # threads of other tests may still be about
            timeouts.append(timeout)
        settimeout(sock, timeout)

    monkeypatch.setattr(socket.socket, "settimeout", recorded)
    with unanswering() as dead, socket.create_server(("127.0.0.1", 0)) as silent, in_time():
        addresses = (dead, silent.getsockname())
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
        config = KoalaConfig(
            public_api_key="pk_test", endpoint=f"http://two.example:{silent.getsockname()[1]}"
        )
        with closing(transport_for(config)) as transport:
            assert transport.send(batch("ada", 1), 2.0) == Answer(None, NO_ANSWER)
    assert all(timeout is not None and timeout <= 1.01 for timeout in timeouts)


def test_a_tls_handshake_that_never_ends_is_no_connection(sent: Sent, batch: MakeBatch) -> None:
    with dripping((b"", b"")) as endpoint, in_time():
        answer = sent(f"https://127.0.0.1:{endpoint.port}", batch("ada", 1), TIMEOUT)
    assert answer == Answer(None, "no connection in time")


@pytest.mark.parametrize("drops", [(b"HTTP/1.1 200 ", b"O"), (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n")])
def test_a_proxy_that_opens_a_tunnel_in_drops_is_no_connection(
    sent: Sent, batch: MakeBatch, environment: Variables, drops: tuple[bytes, bytes]
) -> None:
    with dripping(drops) as proxy, in_time():
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        answer = sent("https://collector.example", batch("ada", 1), TIMEOUT)
    assert answer == Answer(None, "no connection in time")


def test_an_endpoint_that_reads_nothing_ends_at_the_deadline(sent: Sent, batch: MakeBatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, in_time():
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        answer = sent(
            f"http://127.0.0.1:{server.getsockname()[1]}", batch("ada", 1, text="x" * 100_000), TIMEOUT
        )
    assert answer == Answer(None, NO_ANSWER)


def test_the_addresses_of_a_host_share_the_time_to_connect(
    monkeypatch: pytest.MonkeyPatch, batch: MakeBatch
) -> None:
    """libcurl tries them side by side."""
    with serving() as endpoint, unanswering() as dead:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in (dead, ("127.0.0.1", endpoint.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
        config = KoalaConfig(public_api_key="pk_test", endpoint=f"http://two.example:{endpoint.port}")
        with closing(transport_for(config)) as transport, in_time():
            assert transport.send(batch("ada", 1), 2.0).taken


def test_an_endpoint_that_accepts_no_connection_gives_no_connection_in_time(
    sent: Sent, batch: MakeBatch
) -> None:
    with unanswering() as (host, port):
        answer = sent(f"http://{host}:{port}", batch("ada", 1), timeout=0.2)
    assert answer == Answer(None, "no connection in time")


def test_an_endpoint_that_stops_in_its_answer_may_have_the_batch(answered: Sent) -> None:
    with serving() as endpoint:
        answer = answered(endpoint, timeout=0.2, promised=10, stalls=True)
    assert answer == Answer(None, NO_ANSWER)
    assert answer.may_have_it


def test_an_endpoint_that_does_not_answer_may_have_the_batch(sent: Sent, batch: MakeBatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = sent(f"http://127.0.0.1:{silent.getsockname()[1]}", batch("ada", 1), timeout=0.2)
    assert answer == Answer(None, NO_ANSWER)
    assert answer.may_have_it


def test_a_large_body_gets_time_to_travel(sent: Sent, batch: MakeBatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as slow:
        reader = threading.Thread(target=read_late, args=(slow, 0.5))
        reader.start()
        endpoint = f"http://127.0.0.1:{slow.getsockname()[1]}"
        assert sent(endpoint, batch("ada", 1, text="x" * 2_000_000), 0.2).status == 200
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


@contextmanager
def unanswering() -> Iterator[tuple[str, int]]:
    """The address of a server whose queue of connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(server.getsockname())
        yield server.getsockname()
