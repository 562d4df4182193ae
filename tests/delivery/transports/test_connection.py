"""A kept connection: what is sent, what of an answer is read, and when the connection is used again."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from support.listener import serving

from koala_middleware.delivery.transports.answers import WEB_PAGE, Answer
from koala_middleware.delivery.transports.failures import CONNECTION_LOST, UNREADABLE_ANSWER
from koala_middleware.protocol.batches import Batch

MakeBatch = Callable[..., Batch]
Variables = pytest.MonkeyPatch
Sent = Callable[..., Answer]
PATH = "/web/projects/pk_test/batch"


def test_an_endpoint_may_live_below_a_path(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}/koala/", batch("ada", 1)).status == 200
    assert endpoint.lines == ["/koala" + PATH]
    assert endpoint.headers[0]["host"] == f"127.0.0.1:{endpoint.port}"


def test_both_libraries_send_the_same_headers(sent: Sent, batch: MakeBatch) -> None:
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


def test_a_cookie_of_the_endpoint_is_not_sent_back(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        endpoint.more = {"Set-Cookie": "visited=yes"}
        for number in range(2):
            assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", number)).status == 200
    assert endpoint.connections == 1
    assert not any("cookie" in said for said in endpoint.headers)


@pytest.mark.parametrize("status", [302, 303, 307, 308])
def test_a_redirect_is_not_followed(answered: Sent, status: int) -> None:
    with serving() as elsewhere, serving() as endpoint:
        there = {"Location": f"http://127.0.0.1:{elsewhere.port}/"}
        assert answered(endpoint, status=status, more=there) == Answer(status)
    assert elsewhere.connections == 0


def test_an_answer_in_gzip_is_read(answered: Sent) -> None:
    error = gzip.compress(b'{"error": "no event"}')
    with serving() as endpoint:
        said = answered(endpoint, status=422, answer=error, more={"Content-Encoding": "gzip"})
        assert said == Answer(422, "no event")


def test_an_answer_that_is_not_the_gzip_it_claims_to_be_is_unreadable(answered: Sent) -> None:
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
def test_interim_responses_are_skipped(answered: Sent, sent: Sent, batch: MakeBatch, status: str) -> None:
    with serving() as endpoint:
        endpoint.before = f"HTTP/1.1 {status}\r\nServer: early\r\n\r\n".encode() * 2
        assert answered(endpoint, status=422, answer=b'{"error": "no event"}') == Answer(422, "no event")
        endpoint.status = 503
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 2)).status == 503


def test_the_retry_after_header_is_read(answered: Sent) -> None:
    with serving() as endpoint:
        assert answered(endpoint, status=429, more={"Retry-After": "7"}) == Answer(429, "", 7.0)


def test_a_kept_connection_that_was_cut_is_replaced_at_once(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        endpoint.cuts = [False, True, False]
        for number in range(2):
            assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", number)).status == 200
    assert [len(body["events"]) for body in endpoint.bodies] == [1, 1, 1]
    assert endpoint.connections == 2


def test_a_request_is_sent_again_only_once(sent: Sent, batch: MakeBatch) -> None:
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


def test_half_an_answer_is_a_lost_connection(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        endpoint.promised = 10
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)) == Answer(None, CONNECTION_LOST)


def test_half_an_answer_over_a_kept_connection_is_asked_for_again(sent: Sent, batch: MakeBatch) -> None:
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
        endpoint.promised = 10
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 2)) == Answer(None, CONNECTION_LOST)
    assert len(endpoint.bodies) == 3


def test_a_closed_port_refuses_the_connection(sent: Sent, batch: MakeBatch) -> None:
    assert sent("http://127.0.0.1:9", batch("ada", 1)) == Answer(None, "connection refused")


def test_an_endpoint_that_does_not_speak_tls_is_a_tls_failure(sent: Sent, batch: MakeBatch) -> None:
    with serving() as plain:
        assert sent(f"https://127.0.0.1:{plain.port}", batch("ada", 1)) == Answer(None, "TLS failure")


def test_an_answer_that_is_not_http_is_a_lost_connection(sent: Sent, batch: MakeBatch) -> None:
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
def test_a_408_to_an_idle_connection_is_not_the_next_answer(sent: Sent, batch: MakeBatch) -> None:
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


def test_a_very_long_answer_is_not_read_to_its_end(answered: Sent) -> None:
    with serving() as endpoint:
        assert answered(endpoint, answer=b"x" * 100_000, promised=10**9, stalls=True).status == 200


def test_the_rest_of_a_long_answer_is_not_the_next_answer(
    answered: Sent, sent: Sent, batch: MakeBatch
) -> None:
    with serving() as endpoint:
        answered(endpoint, answer=b"HTTP/1.1 422 \r\n" * 10_000)
        before, endpoint.answer = len(endpoint.bodies), b"{}"
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 2)).status == 200
    assert (endpoint.connections, len(endpoint.bodies) - before) == (2, 1)


def test_an_endpoint_that_closes_connections_gets_a_new_one_for_each_request(
    answered: Sent, sent: Sent, batch: MakeBatch
) -> None:
    with serving() as endpoint:
        answered(endpoint, more={"Connection": "close"})
        before = endpoint.connections
        for number in range(2, 4):
            assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", number)).status == 200
    assert endpoint.connections == before + 2


PAGES = {
    "a page": b"<!DOCTYPE html><title>Log in</title>",
    "a page after white space": b"\r\n  <html></html>",
    "a page after a byte order mark": b"\xef\xbb\xbf<html>",
    "a comment first": b"<!-- parked --><html>",
    "xml": b'<?xml version="1.0"?><ok/>',
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("status", [200, 201, 203])
def test_a_web_page_is_not_a_delivery(answered: Sent, page: bytes, status: int) -> None:
    with serving() as endpoint:
        answer = answered(endpoint, status=status, answer=page, more={"Content-Type": "application/json"})
    assert answer == Answer(status, WEB_PAGE)
    assert not answer.taken


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"status": "success"}', b"ok", b"OK\n", b"1", b"null", b"a < b"]
)
def test_a_receiver_may_answer_in_its_own_words(answered: Sent, content: bytes) -> None:
    """As Flask does with `return ""`: as text/html, too."""
    with serving() as endpoint:
        assert answered(endpoint, answer=content, more={"Content-Type": "text/html"}).taken
