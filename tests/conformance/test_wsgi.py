"""What only WSGI has: start_response, the body the server iterates, and its files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextvars import copy_context
from typing import Any
from wsgiref.simple_server import demo_app
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from conformance.handlers import OnPurposeError
from conformance.incoming import environment
from conformance.sites import FRAMEWORKS, Framework

from koala_middleware import koala
from koala_middleware.testing import Collector, drain
from koala_middleware.wsgi import KoalaMiddleware

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"


def with_koala(app: Any, **settings: Any) -> KoalaMiddleware:
    return KoalaMiddleware(app, **{"public_api_key": "pk_test", "delivery": "off", **settings})


def delivering(app: Any, collector: Collector) -> KoalaMiddleware:
    return with_koala(app, delivery="thread", endpoint=collector.url, flush_interval=0.01)


class Server:
    """The least a WSGI server does, and nothing more."""

    def __init__(self, app: Any, environ: dict[str, Any] | None = None) -> None:
        self.heads: list[tuple[Any, ...]] = []
        self.written: list[bytes] = []
        self.environ = environ or environment()
        self.body = app(self.environ, self.start_response)

    def start_response(self, *head: Any) -> Any:
        self.heads.append(head)
        return self.written.append

    def headers(self, name: str) -> list[str]:
        return [value for key, value in self.heads[-1][1] if key.lower() == name]

    def finish(self) -> bytes:
        try:
            return b"".join(self.body)
        finally:
            if hasattr(self.body, "close"):
                self.body.close()


def hello(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_the_body_of_a_handler_without_calls_is_returned_as_it_is() -> None:
    body = [b"hello"]

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body

    assert Server(with_koala(app)).body is body


def itself(file: Any, _block_size: int = 8192) -> Any:
    """uWSGI's `wsgi.file_wrapper`: a function that remembers the file and gives it back."""
    return file


@pytest.mark.parametrize("file_wrapper", [FileWrapper, itself])
def test_a_file_goes_to_the_server_as_the_very_object_it_made(
    file_wrapper: Any, koala_collector: Collector
) -> None:
    """By sendfile, then."""
    wrapped = file_wrapper(io.BytesIO(b"file"))

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["koala"].track("Downloaded")
        start_response("200 OK", [])
        return wrapped  # type: ignore[no-any-return]  # what a file_wrapper gives

    server = Server(delivering(app, koala_collector), {**environment(), "wsgi.file_wrapper": file_wrapper})

    assert server.body is wrapped
    koala_collector.wait_for(1)


@pytest.mark.parametrize("file_wrapper", [FileWrapper, itself])
def test_no_byte_of_a_file_waits_for_inline_delivery(file_wrapper: Any, koala_collector: Collector) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["koala"].track("Downloaded")
        start_response("200 OK", [])
        return file_wrapper(io.BytesIO(b"two\nlines"))  # type: ignore[no-any-return]  # as above

    site = with_koala(app, delivery="inline", endpoint=koala_collector.url)
    server = Server(site, {**environment(), "wsgi.file_wrapper": file_wrapper})

    assert next(iter(server.body)) == b"two\nlines"
    assert koala_collector.batches == []
    server.finish()
    assert len(koala_collector.batches) == 1


def test_a_body_of_known_length_still_has_it() -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["koala"].track("Seen")
        start_response("200 OK", [])
        return [b"hello"]

    assert len(Server(with_koala(app)).body) == 1


def test_what_the_app_writes_and_its_exc_info_pass_through() -> None:
    problem = (ValueError, ValueError("x"), None)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])(b"written, ")
        start_response("500 Oh", [], problem)
        return [b"returned"]

    server = Server(with_koala(app))

    assert server.written == [b"written, "]
    assert [head[0] for head in server.heads] == ["200 OK", "500 Oh"]
    assert server.heads[1][2] is problem
    assert server.finish() == b"returned"


def test_an_app_that_keeps_one_list_of_headers_gives_nobody_anothers_cookie() -> None:
    kept = [("Content-Type", "text/plain")]

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", kept)
        return [b"hello"]

    site = with_koala(app)
    first, second = Server(site).headers("set-cookie"), Server(site).headers("set-cookie")

    assert len(first) == len(second) == 1
    assert first != second
    assert kept == [("Content-Type", "text/plain")]


class Chunks:
    """A body that counts what is done to it."""

    def __init__(self, *chunks: bytes, fails: bool = False) -> None:
        self.chunks = iter(chunks)
        self.fails = fails
        self.taken = self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.taken += 1
        if self.fails:
            raise OnPurposeError
        return next(self.chunks)

    def close(self) -> None:
        self.closed += 1


def streaming(body: Any) -> Any:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body  # type: ignore[no-any-return]  # any body that is given

    return app


def test_no_chunk_is_taken_before_the_server_asks_and_close_is_called_once() -> None:
    body = Chunks(b"a", b"b")
    server = Server(with_koala(streaming(body)))

    assert body.taken == 0
    chunks = iter(server.body)
    assert next(chunks) == b"a"
    assert (body.taken, body.closed) == (1, 0)
    assert list(chunks) == [b"b"]
    server.body.close()
    assert body.closed == 1


def test_a_client_that_leaves_closes_the_body_before_its_end(koala_collector: Collector) -> None:
    def chunks() -> Iterator[bytes]:
        try:
            koala.track("Began")
            yield b"first"
            yield b"second"
        finally:
            koala.track("Ended")

    server = Server(delivering(streaming(chunks()), koala_collector))
    next(iter(server.body))
    server.body.close()

    koala_collector.wait_for(lambda collector: len(collector.events) == 2)


def test_an_exception_in_the_body_is_the_servers_to_see_and_close_comes_once() -> None:
    body = Chunks(fails=True)

    with pytest.raises(OnPurposeError):
        Server(with_koala(streaming(body))).finish()
    assert body.closed == 1


def test_an_exception_of_the_app_is_the_servers_to_see(koala_collector: Collector) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["koala"].track("Tried")
        raise OnPurposeError

    with pytest.raises(OnPurposeError):
        Server(delivering(app, koala_collector))
    koala_collector.wait_for(1)


def test_the_batch_waits_for_the_last_byte(koala_collector: Collector) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["koala"].track("Seen")
        start_response("200 OK", [])
        return [b"hello"]

    server = Server(delivering(app, koala_collector))
    drain()
    assert koala_collector.batches == []
    server.finish()
    koala_collector.wait_for(1)


@pytest.mark.parametrize("ends", ["returns", "raises", "is left in the middle"])
def test_nothing_of_a_request_is_left_behind_in_its_thread(ends: str) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        assert koala.profile_id == environ["koala"].profile_id
        if ends == "raises":
            raise OnPurposeError
        start_response("200 OK", [])
        yield b"first"
        assert koala.profile_id == environ["koala"].profile_id
        yield b"second"

    before = dict(copy_context().items())
    server = Server(with_koala(app))
    if ends == "is left in the middle":
        next(iter(server.body))
    elif ends == "raises":
        with pytest.raises(OnPurposeError):
            server.finish()
    else:
        server.finish()

    assert dict(copy_context().items()) == before


def test_applied_twice_is_applied_once(koala_collector: Collector) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["koala"].track("Seen")
        return hello(environ, start_response)

    server = Server(delivering(delivering(app, koala_collector), koala_collector))
    server.finish()

    assert len(server.headers("set-cookie")) == 1
    koala_collector.wait_for(1)
    drain()
    assert len(koala_collector.events) == 1


def test_the_reference_validator_finds_nothing_in_the_middleware() -> None:
    # Around it, not inside: between us and the app it would refuse `environ["koala"]`, a name without a dot.
    server = Server(validator(with_koala(demo_app)), environment())

    assert b"Hello world!" in server.finish()


@pytest.mark.parametrize("path", ["/", "/signup", "/stream", "/no-such-page", "/as-told"])
@pytest.mark.parametrize(
    "framework",
    [framework for framework in FRAMEWORKS if framework.interface == "wsgi"],
    ids=lambda it: it.name,
)
def test_the_reference_validator_finds_nothing_in_any_framework(framework: Framework, path: str) -> None:
    app = framework.app_with({"public_api_key": "pk_test", "delivery": "off"})
    server = Server(validator(app), environment(path))

    server.finish()
    assert len(server.heads) == 1


def test_a_websocket_that_ends_by_stop_iteration_is_no_failure() -> None:
    """As flask-sock and Flask-SocketIO end one on gunicorn, so that it sends no response of its own."""

    def socket(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["koala"].track("Chatted")
        raise StopIteration

    app = with_koala(socket, on_error="drop")
    with pytest.raises(StopIteration):
        Server(app)

    assert "on_error" not in app.client.stats().dropped


def test_the_context_has_a_name_with_a_dot_as_well() -> None:
    """PEP 3333 leaves names without one to CGI's variables."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        assert environ["koala.context"] is environ["koala"]
        return hello(environ, start_response)

    Server(with_koala(app)).finish()
