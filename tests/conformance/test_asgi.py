"""What only ASGI has: its messages, and what an app may do with them."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import pytest
from conformance.handlers import OnPurposeError
from conformance.sites import FRAMEWORKS, Framework, Site
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send
from websockets.sync.client import connect

from koala_middleware import koala
from koala_middleware.asgi import KoalaMiddleware
from koala_middleware.testing import Collector, drain

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
SCOPE = {
    "type": "http",
    "method": "GET",
    "scheme": "http",
    "server": ("127.0.0.1", 80),
    "client": ("127.0.0.1", 50000),
    "root_path": "",
    "path": "/",
    "query_string": b"",
    "headers": [(b"host", b"www.example.com")],
}


def asked(app: Any, scope: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The messages that an app sends for one request."""
    sent: list[dict[str, Any]] = []

    coming = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        while not coming:  # the client stays until it has everything
            if sent and sent[-1]["type"] == "http.response.body" and not sent[-1].get("more_body"):
                return {"type": "http.disconnect"}
            await asyncio.sleep(0.001)
        return coming.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({**SCOPE, **(scope or {})}, receive, send))
    return sent


def cookies(messages: list[dict[str, Any]]) -> list[bytes]:
    return [value for name, value in messages[0]["headers"] if name.lower() == b"set-cookie"]


def with_koala(app: Any, **settings: Any) -> KoalaMiddleware:
    return KoalaMiddleware(app, **{"public_api_key": "pk_test", "delivery": "off", **settings})


def delivering(app: Any, collector: Collector, **settings: Any) -> KoalaMiddleware:
    return with_koala(
        app, **{"delivery": "thread", "endpoint": collector.url, "flush_interval": 0.01, **settings}
    )


def test_an_app_that_sends_one_and_the_same_message_to_everybody_gives_nobody_anothers_cookie() -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"x-page", b"1")]}
    body = {"type": "http.response.body", "body": b"hello"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(body)

    site = with_koala(app)
    first, second = cookies(asked(site)), cookies(asked(site))

    assert len(first) == len(second) == 1
    assert first != second
    assert start == {"type": "http.response.start", "status": 200, "headers": [(b"x-page", b"1")]}


def test_header_names_in_any_case_are_understood() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"Cache-Control", b"public, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    assert cookies(asked(with_koala(app))) == []


def test_an_app_may_send_a_head_without_headers() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    assert len(cookies(asked(with_koala(app)))) == 1


def saying(*messages: dict[str, Any]) -> Any:
    """An app that sends these messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


KNOWN = {"headers": [(b"host", b"www.example.com"), (b"cookie", f"ko_id={ADA}".encode())]}


def test_what_extensions_send_passes_untouched() -> None:
    messages: list[dict[str, Any]] = [
        {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]},
        {"type": "http.response.push", "path": "/style.css", "headers": []},
        {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")], "trailers": True},
        {"type": "http.response.zerocopysend", "file": 3},
        {"type": "http.response.body", "body": b"hello", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
        {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False},
        {"type": "http.response.debug", "info": {}},
        {"type": "never.heard.of.it"},
    ]

    assert asked(with_koala(saying(*messages)), KNOWN) == messages


def test_a_visitors_known_response_is_the_very_same_objects() -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}
    body = {"type": "http.response.body", "body": b"hello"}

    sent = asked(with_koala(saying(start, body)), KNOWN)

    assert sent[0] is start
    assert sent[1] is body


def test_an_interim_response_carries_no_cookie_and_the_final_one_does() -> None:
    sent = asked(
        with_koala(
            saying(
                {"type": "http.response.start", "status": 103, "headers": []},
                {"type": "http.response.start", "status": 200, "headers": []},
                {"type": "http.response.body"},
            )
        )
    )

    assert [len(cookies([message])) for message in sent[:2]] == [0, 1]


@pytest.mark.parametrize("last", ["http.response.body", "http.response.pathsend", "http.response.trailers"])
def test_the_batch_goes_out_with_the_last_message_whatever_it_is(
    last: str, koala_collector: Collector
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["koala"].track("Sent")
        trailers = last == "http.response.trailers"
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": trailers})
        if trailers:
            await send({"type": "http.response.body", "body": b"hello"})
        await send({"type": last, "path": "/etc/hostname"})
        await asyncio.to_thread(koala_collector.wait_for, 1)  # the app has not returned yet

    asked(delivering(app, koala_collector), KNOWN)


def test_a_scope_that_is_neither_http_nor_websocket_passes_untouched() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    async def receive() -> Any: ...
    async def send(message: Any) -> None: ...

    scope = {"type": "webtransport"}
    asyncio.run(with_koala(app)(scope, receive, send))
    assert seen == [(scope, receive, send)]
    assert scope == {"type": "webtransport"}


def test_an_apps_lifespan_is_its_own() -> None:
    said = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope == {"type": "lifespan"}
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def receive() -> Any: ...
    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(with_koala(app)({"type": "lifespan"}, receive, send))
    assert said == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


def test_the_receive_channel_is_the_servers_own() -> None:
    channels = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        channels.append(receive)

    async def receive() -> Any: ...
    async def send(message: Any) -> None: ...

    asyncio.run(with_koala(app)({**SCOPE}, receive, send))
    assert channels == [receive]


def test_applied_twice_is_applied_once(koala_collector: Collector) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["koala"].track("Sent")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    twice = delivering(delivering(app, koala_collector), koala_collector)

    assert len(cookies(asked(twice))) == 1
    koala_collector.wait_for(1)
    drain()
    assert len(koala_collector.events) == 1


def test_an_exception_of_the_app_is_the_servers_to_see() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise OnPurposeError

    with pytest.raises(OnPurposeError):
        asked(with_koala(app))


def test_a_client_that_went_away_is_the_apps_to_see(koala_collector: Collector) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["koala"].track("Began")
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any: ...

    async def send(message: Any) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        asyncio.run(delivering(app, koala_collector)({**SCOPE}, receive, send))
    koala_collector.wait_for(1)


def test_a_cancelled_request_still_hands_over_its_calls(koala_collector: Collector) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["koala"].track("Began")
        await asyncio.Event().wait()

    async def cancelled() -> None:
        async def receive() -> Any: ...
        async def send(message: Any) -> None: ...

        request = asyncio.create_task(delivering(app, koala_collector)({**SCOPE}, receive, send))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(cancelled())
    koala_collector.wait_for(1)


@pytest.mark.parametrize("ends", ["returns", "raises", "streams"])
def test_nothing_of_a_request_is_left_behind_in_its_task(ends: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert koala.profile_id == scope["koala"].profile_id
        if ends == "raises":
            raise OnPurposeError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "more_body": ends == "streams"})

    async def two_requests_in_one_task() -> None:
        async def receive() -> Any: ...
        async def send(message: Any) -> None: ...

        before = copy_context()
        with suppress(OnPurposeError):
            await with_koala(app)({**SCOPE}, receive, send)
        after = copy_context()
        assert dict(before.items()) == dict(after.items())
        with pytest.raises(RuntimeError, match="no request"):
            koala.profile_id  # noqa: B018  (asking is what raises)

    asyncio.run(two_requests_in_one_task())


def test_an_endless_stream_delivers_each_flush_interval(koala_collector: Collector) -> None:
    async def server_sent_events(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(1, 4):
            scope["koala"].track("Ticked", {"number": number})
            # What waits for the interval goes with the first message after it.
            while len(koala_collector.events.tracked) < number:
                await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
                await asyncio.sleep(0.01)

    asked(delivering(server_sent_events, koala_collector, flush_interval=0.05), KNOWN)

    assert [event.data["number"] for event in koala_collector.events.tracked] == [1, 2, 3]


@pytest.mark.only(websockets=True)
def test_a_websocket_delivers_on_flush_and_on_close(served: Site, koala_collector: Collector) -> None:
    address = f"ws://127.0.0.1:{served.port}/chat"
    headers = {**served.always, "Cookie": f"ko_id={ADA}"}
    with connect(address, additional_headers=headers, proxy=None) as socket:
        socket.send("hello")
        assert socket.recv() == "HELLO"
        socket.send("flush")
        koala_collector.wait_for(lambda collector: len(collector.events.of(ADA)) == 2)
        socket.send("goodbye")
        assert socket.recv() == "FLUSH"
        assert socket.recv() == "GOODBYE"

    koala_collector.wait_for(lambda collector: len(collector.events.of(ADA)) == 3)
    assert [event.data["words"] for event in koala_collector.events.tracked] == ["hello", "flush", "goodbye"]


@pytest.mark.only(websockets=True)
def test_a_websockets_handshake_gives_a_new_visitor_the_cookie(served: Site) -> None:
    with connect(
        f"ws://127.0.0.1:{served.port}/chat", additional_headers=served.always, proxy=None
    ) as socket:
        assert socket.response is not None
        assert socket.response.headers["Set-Cookie"].startswith("ko_id=")
        socket.send("hello")
        assert socket.recv() == "HELLO"


@pytest.mark.parametrize(
    "path", ["/", "/signup", "/stream", "/download", "/fail", "/broken-stream", "/after", "/no-such-page"]
)
@pytest.mark.parametrize(
    "framework",
    [framework for framework in FRAMEWORKS if framework.interface == "asgi"],
    ids=lambda it: it.name,
)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # Django's files, under ASGI
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile")  # Django leaves a failed request's body open
def test_the_order_of_asgi_messages_is_kept(framework: Framework, path: str) -> None:
    violations: list[str] = []
    app = in_order(framework.app_with({"public_api_key": "pk_test", "delivery": "off"}), violations)

    with suppress(Exception):  # what the handlers raise on purpose, as each framework wraps it
        asked(app, {**KNOWN, "path": path, "raw_path": path.encode(), "http_version": "1.1"})
    assert violations == []
    gc.collect()


def in_order(app: Any, violations: list[str]) -> Any:
    """The app, with every message it sends held against the ASGI specification's order and types."""

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        due = "http.response.start"

        async def checking(message: Any) -> None:
            nonlocal due
            if message["type"] != due:
                violations.append(f"{message['type']} where {due} was due")
            parts = [part for pair in message.get("headers", ()) for part in pair]
            parts += [message["body"]] if "body" in message else []
            if not all(isinstance(part, bytes) for part in parts):
                violations.append(f"{message['type']} has parts that are no bytes")
            if message["type"] == "http.response.start":
                due = "http.response.body"
            elif not message.get("more_body", False):
                due = "nothing more"
            await send(message)

        await app(scope, receive, checking)

    return checked


@asgi("/legacy", is_mount=True, copy_scope=True)
async def legacy(scope: Scope, receive: Receive, send: Send) -> None:
    """Litestar's mounts find the rest of their path in the same scope, and it stays there."""
    scope["koala"].track("Seen")  # type: ignore[typeddict-item]  # the middleware's
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.mark.parametrize("path", ["/legacy/deep/page", "/legacy/deep/page/"])
def test_a_path_that_the_app_rewrites_is_still_the_visitors(path: str, koala_collector: Collector) -> None:
    app = delivering(Litestar([legacy], openapi_config=None), koala_collector, exclude_paths=["/legacy/*"])

    assert cookies(asked(app, {"path": path})) == []
    [batch] = koala_collector.wait_for(1)
    assert batch["events"][0]["context"]["page"]["path"] == path


def test_a_scope_without_headers_as_some_tests_make_it_is_served() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    sent: list[Any] = []

    async def receive() -> Any: ...
    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(with_koala(app)({"type": "http", "method": "GET", "path": "/"}, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


HANDSHAKE = {
    "type": "websocket",
    "headers": [(b"host", b"www.example.com"), (b"sec-fetch-dest", b"websocket")],
}


@pytest.mark.parametrize(
    ("settings", "uses", "carries"), [({}, True, True), ({}, False, False), ({"mint": "always"}, False, True)]
)
def test_an_accepted_websocket_carries_the_cookie_as_the_response_to_a_fetch_does(
    settings: dict[str, str], uses: bool, carries: bool
) -> None:
    async def chat(scope: Any, receive: Any, send: Any) -> None:
        if uses:
            scope["koala"].track("Connected")
        await send({"type": "websocket.accept", "headers": [(b"x-own", b"1")]})
        await send({"type": "websocket.close"})

    accept, _ = asked(with_koala(chat, **settings), HANDSHAKE)

    assert [name for name, _ in accept["headers"]] == [b"x-own", b"set-cookie"][: 2 if carries else 1]


@pytest.mark.parametrize(
    ("answer", "dropped"),
    [
        ({"type": "websocket.http.response.start", "status": 503, "headers": []}, {"on_error": 1}),
        ({"type": "websocket.close"}, {}),
    ],
)
def test_on_error_sees_how_a_handshake_is_refused(answer: dict[str, Any], dropped: dict[str, int]) -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        scope["koala"].track("Refused")
        await send(answer)

    app = with_koala(refusing, on_error="drop")
    asked(app, HANDSHAKE)

    assert {name: n for name, n in app.client.stats().dropped.items() if name == "on_error"} == dropped
