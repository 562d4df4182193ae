"""The site's handlers, written once: what a user of any framework writes, down to the letter.

Knows no framework: each app module hands in its own request and makes its own response of a `Reply`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from koala_middleware import koala
from koala_middleware.calls.context import KoalaContext
from koala_middleware.pipeline import all_pipelines

Headers = list[tuple[str, str]]


class Request(Protocol):
    """What the handlers use of any framework's request."""

    @property
    def koala(self) -> KoalaContext: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass
class RawRequest:
    """The request of frameworks without a `request.koala`: made from a scope or an environ."""

    koala: KoalaContext
    headers: Mapping[str, str]


@dataclass
class Reply:
    """A response in no framework's terms; the body is bytes, or chunks as they are made, or a file."""

    body: bytes = b"ok"
    status: int = 200
    headers: Headers = field(default_factory=list)
    chunks: Callable[[], Iterator[bytes]] | None = None
    file: Path | None = None
    after: Callable[[], None] | None = None


def home(request: Request) -> Reply:
    return Reply(b"home")


def signup(request: Request) -> Reply:
    request.koala.identify("ada@example.com", {"name": "Ada"})
    request.koala.track("Created Account", {"plan": "pro"})
    return Reply(b"welcome")


def login(request: Request) -> Reply:
    request.koala.identify("ada@example.com", {"name": "Ada"})
    request.koala.track("Logged In", {"method": "password"})
    return Reply(b"hello again")


def logout(request: Request) -> Reply:
    request.koala.track("Logged Out")
    request.koala.reset()
    request.koala.track("Saw Goodbye")
    return Reply(b"goodbye")


def pricing(request: Request) -> Reply:
    request.koala.track("Viewed Pricing")
    return Reply(b"9 a month")


def who_am_i(request: Request) -> Reply:
    visitor = request.koala
    told = {
        "profile_id": visitor.profile_id,
        "email": visitor.email,
        "is_new": visitor.is_new,
        "enabled": visitor.enabled,
    }
    return Reply(json.dumps(told).encode())


def two_people(request: Request) -> Reply:
    request.koala.identify("ada@example.com")
    request.koala.track("Signed Out")
    request.koala.identify("grace@example.com")
    request.koala.track("Signed In")
    return Reply()


def company(request: Request) -> Reply:
    request.koala.account(domain="example.com").identify({"plan": "enterprise"})
    request.koala.account(domain="example.com").track("Invoice Paid", {"amount": 900})
    return Reply()


def accept_cookies(request: Request) -> Reply:
    request.koala.track("Saw Banner")
    request.koala.consent("full")
    request.koala.track("Accepted")
    return Reply()


def far_from_the_request(request: Request) -> Reply:
    def deep_down() -> None:
        koala.track("Far Away", {"same": koala.profile_id == request.koala.profile_id})

    deep_down()
    return Reply()


def as_told(request: Request) -> Reply:
    """Replies with what the X-Reply header says, and does not touch Koala."""
    told = json.loads(request.headers.get("X-Reply", "{}"))
    return Reply(
        told.get("body", "told").encode(),
        told.get("status", 200),
        [(name, value) for name, value in told.get("headers", [])],
    )


def as_told_and_tracked(request: Request) -> Reply:
    request.koala.track("Told")
    return as_told(request)


def stream(request: Request) -> Reply:
    """Two chunks with a gate between them. Each says what it does while it is made."""
    gate = request.headers.get("X-Gate")

    def chunks() -> Iterator[bytes]:
        koala.track("Streamed", {"part": 1})
        yield b"first,"
        if gate:
            pass_gate(gate)
        koala.track("Streamed", {"part": 2})
        yield b"second"

    return Reply(chunks=chunks)


def silent_stream(request: Request) -> Reply:
    def chunks() -> Iterator[bytes]:
        yield b"one,"
        yield b""
        yield b"two,"
        yield b"three" * 5000

    return Reply(chunks=chunks, headers=[("X-Stream", "yes")])


def broken_stream(request: Request) -> Reply:
    def chunks() -> Iterator[bytes]:
        koala.track("Streamed", {"part": 1})
        yield b"first,"
        raise OnPurposeError("in the stream")

    return Reply(chunks=chunks)


def closed_stream(request: Request) -> Reply:
    """Says when it is closed: once, please."""
    closes = 0

    class Chunks:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"one,", b"two"])

        def close(self) -> None:
            nonlocal closes
            closes += 1
            koala.track("Closed", {"times": closes})

    return Reply(chunks=Chunks)  # type: ignore[arg-type]  # an iterable with a close


def download(request: Request) -> Reply:
    request.koala.track("Downloaded")
    return Reply(file=Path(__file__))


def fail(request: Request) -> Reply:
    request.koala.track("Tried")
    raise OnPurposeError("on purpose")


def after_the_response(request: Request) -> Reply:
    gate = request.headers.get("X-Gate")

    def later() -> None:
        if gate:
            pass_gate(gate)
        koala.track("Done Later")

    request.koala.track("Ordered")
    return Reply(b"we are on it", after=later)


def drained(request: Request) -> Reply:
    """Answers when all that was said before has been delivered, or the time for it is over."""
    endpoint, within = request.headers.get("X-Endpoint"), float(request.headers.get("X-Within", "5"))
    for pipeline in all_pipelines():
        if pipeline.config.endpoint == endpoint:
            pipeline.delivery.flush(within)
    return Reply()


def over(request: Request) -> Reply:
    """The test is over: what still waits for its endpoint is given up, or would reach whose test has that port next."""
    for pipeline in all_pipelines():
        if pipeline.config.endpoint == request.headers.get("X-Endpoint"):
            pipeline.delivery.close(0)
    return Reply()


class OnPurposeError(Exception):
    """What the handlers raise on purpose."""


def sorry(request: Request) -> Reply:
    """The site's own page for errors."""
    request.koala.track("Saw Error Page")
    return Reply(b"sorry", 500)


def not_found(request: Request) -> Reply:
    return Reply(b"no such page", 404)


ROUTES: Mapping[str, Callable[[Any], Reply]] = {
    "/": home,
    "/signup": signup,
    "/login": login,
    "/logout": logout,
    "/pricing": pricing,
    "/who-am-i": who_am_i,
    "/two-people": two_people,
    "/company": company,
    "/accept-cookies": accept_cookies,
    "/far": far_from_the_request,
    "/as-told": as_told,
    "/as-told-and-tracked": as_told_and_tracked,
    "/stream": stream,
    "/silent-stream": silent_stream,
    "/broken-stream": broken_stream,
    "/closed-stream": closed_stream,
    "/download": download,
    "/fail": fail,
    "/after": after_the_response,
    "/drained": drained,
    "/over": over,
    "/health": pricing,
    "/static/site.css": pricing,
}


def pass_gate(address: str) -> None:
    """Wait at a test's gate until it opens."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as gate:
        gate.recv(1)


def consent_by_header(head: Any) -> Any:
    """The site's rule: what the visitor's X-Consent says."""
    return head.header("x-consent") or "none"


async def consent_by_header_async(head: Any) -> Any:
    return consent_by_header(head)


def consent_that_raises(head: Any) -> Any:
    raise OnPurposeError("the rule is broken")


CONSENT_RULES: Mapping[str, Callable[[Any], Any]] = {
    rule.__name__: rule for rule in (consent_by_header, consent_by_header_async, consent_that_raises)
}


def resolved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they travel to a server (JSON), with functions in place of their names."""
    named = dict(settings)
    if "consent" in named:
        named["consent"] = CONSENT_RULES[named["consent"]]
    return named
