"""The endpoints that take a person's or an account's batch: read a request, have it recorded, answer with a status.

Must not know who is who or how things are stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

import orjson
from starlette.types import Receive, Scope, Send

from koala_middleware.collector.http import read_body, send_json
from koala_middleware.collector.recording.writer import NotStored, QueueFull
from koala_middleware.collector.runtime import Collector
from koala_middleware.collector.store.rows import ReceivedRequest
from koala_middleware.collector.times import now_ms
from koala_middleware.collector.validation.checked import IncomingBatch
from koala_middleware.collector.validation.parsing import parse_account_batch, parse_person_batch
from koala_middleware.collector.validation.refusal import RequestRefused

RETRY_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
NOT_STORED = {"error": "This could not be stored now; come again"}
MAX_USER_AGENT = 500  # characters kept
_OK = b'{"ok":true}'
_BOT = "no User-Agent: counted as a bot, as the hosted service did, and not recorded"

Parse = Callable[[str, bytes, int], IncomingBatch]
"""Gets the key, the body and the time in milliseconds since 1970. Raises RequestRefused."""


class BatchEndpoint:
    """An ASGI app of its own: Request and Response objects would take a third of a batch's time."""

    def __init__(self, parse: Parse) -> None:
        self._parse = parse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, content, _ = await handle_batch(scope["app"].state.collector, scope, receive, self._parse)
        await send_json(send, status, content, retry_later=status in RETRY_LATER)


async def handle_batch(
    collector: Collector, scope: Scope, receive: Receive, parse: Parse
) -> tuple[int, bytes, IncomingBatch | None]:
    """Read and record one request. Returns the status, the answer's body, and the batch if it was taken."""
    received = new_request(scope)
    try:
        encoding = check_headers(collector, received, scope)
        check_rate(collector, received, scope)
        received.body = await read_body(receive, encoding)
        batch, stored = submit_batch(collector, received, parse)
        await stored
    except RequestRefused as refused:
        return refused.status, orjson.dumps(keep_refused(collector, received, refused)), None
    except (QueueFull, NotStored):
        return HTTPStatus.SERVICE_UNAVAILABLE, orjson.dumps(NOT_STORED), None
    return HTTPStatus.OK, _OK, batch


def new_request(scope: Scope) -> ReceivedRequest:
    return ReceivedRequest(scope["path_params"]["key"], scope["path"], now_ms(), b"", "")


def check_headers(collector: Collector, received: ReceivedRequest, scope: Scope) -> str:
    """Check key and origin, and note the User-Agent. Returns the Content-Encoding. Raises RequestRefused."""
    encoding = ""
    origin: str | None = None
    for name, value in scope["headers"]:
        if name == b"user-agent":
            received.user_agent = value.decode("latin-1").strip()[:MAX_USER_AGENT]
        elif name == b"content-encoding":
            encoding = value.decode("latin-1").strip().lower()
        elif name == b"origin":
            origin = value.decode("latin-1")
    check_key(collector, received.key)
    check_origin(collector, origin)
    return encoding


def check_key(collector: Collector, key: str) -> None:
    """Raises RequestRefused for a key that this collector does not take."""
    if not collector.settings.takes(key):
        raise RequestRefused("This collector does not take this key: see its --key", "unknown_key", 403)


def check_origin(collector: Collector, origin: str | None) -> None:
    """Raises RequestRefused for a script of a site that is not in `origins`. A beacon needs no CORS to be sent."""
    origins = collector.settings.origins
    if origins is not None and origin is not None and origin not in origins:
        raise RequestRefused(
            "This collector does not take entries from this site: see its --origin", "unknown_origin", 403
        )


def check_rate(collector: Collector, received: ReceivedRequest, scope: Scope) -> None:
    """Raises RequestRefused when too many batches came from this address or for this key."""
    client = scope.get("client")
    if not (
        collector.address_rate.allows(client[0] if client else "") and collector.key_rate.allows(received.key)
    ):
        raise RequestRefused("Too many requests from this address or for this key", "too_many_requests", 429)


def submit_batch(
    collector: Collector, received: ReceivedRequest, parse: Parse
) -> tuple[IncomingBatch, Awaitable[object]]:
    """Parse a body and have it recorded. The awaitable is done once it is on disk. Raises RequestRefused, QueueFull."""
    batch = parse(received.key, received.body, received.received_at)
    if received.user_agent:
        received.batch, received.notes = batch, "\n".join(batch.warnings)
        return batch, collector.store_request(received)
    received.outcome, received.notes = "ignored", _BOT
    collector.keep_request(received)
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return batch, done


def keep_refused(collector: Collector, received: ReceivedRequest, refused: RequestRefused) -> dict[str, str]:
    """Keep a refused request for whoever looks at it. Returns the answer to its sender."""
    received.outcome, received.status, received.notes = "refused", refused.status, refused.message
    with suppress(QueueFull):
        collector.keep_request(received)
    return {"error": refused.message, "code": refused.code}


person_batch = BatchEndpoint(parse_person_batch)
account_batch = BatchEndpoint(parse_account_batch)
