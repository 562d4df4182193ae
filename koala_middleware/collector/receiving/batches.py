"""The protocol's endpoints, as senders speak it: read a request, have it recorded, answer with a status.

Must not know who is who or how things are stored.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from koala_middleware.collector.recording.writer import Arrived, NotStored, Overloaded, now_ms
from koala_middleware.collector.runtime import Collector
from koala_middleware.collector.validation.batches import (
    Batch,
    Refused,
    read_account_batch,
    read_person_batch,
)

LARGEST = 1024 * 1024  # bytes of a body, also once unpacked; what senders keep below is half of it
_GZIP = 16 + zlib.MAX_WBITS
_MEMBERS = 1_000  # of a gzip stream: as many as a bulk has lines; each costs a copy of what follows it
_OK = b'{"ok":true}'
COME_AGAIN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
NOT_STORED = {"error": "This could not be stored now; come again"}
USER_AGENT_KEPT = 500  # characters
_BOT = "no User-Agent: taken for a bot's, as the hosted service did, and not counted"

Read = Callable[[str, bytes, int], Batch]


class BatchEndpoint:
    """Takes batches. An ASGI app by itself: Request and Response objects would cost a third of a batch's time."""

    def __init__(self, read: Read) -> None:
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, content, _ = await take(scope["app"].state.collector, scope, receive, self._read)
        await respond(send, status, content, come_again=status in COME_AGAIN)


async def take(
    collector: Collector, scope: Scope, receive: Receive, read: Read
) -> tuple[int, bytes, Batch | None]:
    """Read and record one request. Answers the status, the body, and the batch if there was a good one."""
    arrived = arrived_now(scope)
    try:
        encoding = admit(collector, arrived, scope)
        allow(collector, arrived, scope)
        arrived.body = await body_of(receive, encoding)
        batch, stored = begin(collector, arrived, read)
        await stored
    except Refused as refused:
        return refused.status, orjson.dumps(refuse(collector, arrived, refused)), None
    except (Overloaded, NotStored):
        return 503, orjson.dumps(NOT_STORED), None
    return 200, _OK, batch


def arrived_now(scope: Scope) -> Arrived:
    return Arrived(scope["path_params"]["key"], scope["path"], now_ms(), b"", "")


def admit(collector: Collector, arrived: Arrived, scope: Scope) -> str:
    """Look at the head. Answers the Content-Encoding. Raises Refused."""
    encoding = _read_headers(scope, arrived)
    if not collector.settings.takes(arrived.key):
        raise Refused("This collector does not take this key: see its --key", "unknown_key", 404)
    return encoding


def allow(collector: Collector, arrived: Arrived, scope: Scope) -> None:
    """Raises Refused for whoever sends too many batches."""
    client = scope.get("client")
    if not (
        collector.address_rate.allows(client[0] if client else "") and collector.key_rate.allows(arrived.key)
    ):
        raise Refused("Too many requests from this address or for this key", "too_many_requests", 429)


def begin(collector: Collector, arrived: Arrived, read: Read) -> tuple[Batch, Awaitable[object]]:
    """Read a body and have it recorded: the second is done once it is on disk. Raises Refused, Overloaded."""
    batch = read(arrived.key, arrived.body, arrived.received_at)
    if arrived.user_agent:
        arrived.batch, arrived.notes = batch, "\n".join(batch.flags)
        return batch, collector.record(arrived)
    arrived.outcome, arrived.notes = "ignored", _BOT
    collector.note(arrived)
    nothing = asyncio.get_running_loop().create_future()
    nothing.set_result(None)
    return batch, nothing


def _read_headers(scope: Scope, arrived: Arrived) -> str:
    """Keep the User-Agent; answer the Content-Encoding."""
    encoding = ""
    for name, value in scope["headers"]:
        if name == b"user-agent":
            arrived.user_agent = value.decode("latin-1").strip()[:USER_AGENT_KEPT]
        elif name == b"content-encoding":
            encoding = value.decode("latin-1").strip().lower()
    return encoding


def refuse(collector: Collector, arrived: Arrived, refused: Refused) -> dict[str, str]:
    """Keep the request to be looked at; what its sender is told."""
    arrived.outcome, arrived.status, arrived.notes = "refused", refused.status, refused.message
    with suppress(Overloaded):
        collector.note(arrived)
    return {"error": refused.message, "code": refused.code}


async def respond(send: Send, status: int, content: bytes, *, come_again: bool = False) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    if come_again:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def body_of(receive: Receive, encoding: str, largest: int = LARGEST) -> bytes:
    """The request's body, unpacked, of any content type: beacons send JSON as text/plain. Raises Refused."""
    if encoding not in {"", "identity", "gzip"}:
        raise Refused(
            f"Content-Encoding {encoding!r} is not understood: send gzip or plain", "bad_encoding", 415
        )
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("The body did not arrive whole", "incomplete")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > largest:
            raise too_large(largest)
    return _unpacked(body, largest) if encoding == "gzip" else body


def _unpacked(body: bytes, largest: int) -> bytes:
    """All members of a gzip stream, one after the other. Raises Refused."""
    plain, packed = bytearray(), body
    for _ in range(_MEMBERS):
        unpack = zlib.decompressobj(_GZIP)
        try:
            plain += unpack.decompress(packed, largest + 1 - len(plain))
        except zlib.error:
            raise Refused("The body is not gzip, as its Content-Encoding says", "bad_gzip") from None
        if len(plain) > largest:
            raise too_large(largest)
        if not unpack.eof:
            raise Refused("The body's gzip stream is cut off", "bad_gzip")
        packed = unpack.unused_data
        if not packed:
            return bytes(plain)
    raise Refused(f"The body's gzip stream has more than {_MEMBERS} members", "bad_gzip")


def too_large(largest: int) -> Refused:
    return Refused(f"The body is larger than {largest // 1024} KiB", "too_large", 413)


person_batch = BatchEndpoint(read_person_batch)
account_batch = BatchEndpoint(read_account_batch)


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
