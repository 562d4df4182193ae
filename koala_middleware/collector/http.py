"""Request bodies in, JSON answers out. Must not know what is in either."""

from __future__ import annotations

import zlib

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from koala_middleware.collector.validation.refusal import RequestRefused

MAX_BODY = 1024 * 1024  # bytes, also once unpacked; senders stay below half of it
_GZIP = 16 + zlib.MAX_WBITS
_MAX_MEMBERS = 1_000  # of a gzip stream: as many as a bulk has lines; each costs a copy of what follows it


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def refusal_response(request: Request, refused: Exception) -> Response:  # noqa: ARG001  (an exception handler's signature)
    """The answer to a request that was refused and not kept."""
    if not isinstance(refused, RequestRefused):
        raise refused
    return json_response({"error": refused.message, "code": refused.code}, refused.status)


async def send_json(send: Send, status: int, content: bytes, *, retry_later: bool = False) -> None:
    """Answer with encoded JSON, without the cost of a Response."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    if retry_later:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def read_body(receive: Receive, encoding: str = "", largest: int = MAX_BODY) -> bytes:
    """The body, unpacked, of any content type: beacons send JSON as text/plain. Raises RequestRefused."""
    if encoding not in {"", "identity", "gzip"}:
        raise RequestRefused(
            f"Content-Encoding {encoding!r} is not supported: send gzip or identity", "bad_encoding", 415
        )
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefused("The body did not arrive completely", "incomplete")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > largest:
            raise body_too_large(largest)
    return _unpacked(body, largest) if encoding == "gzip" else body


def _unpacked(body: bytes, largest: int) -> bytes:
    """All members of a gzip stream, one after the other. Raises RequestRefused."""
    plain, packed = bytearray(), body
    for _ in range(_MAX_MEMBERS):
        unpack = zlib.decompressobj(_GZIP)
        try:
            plain += unpack.decompress(packed, largest + 1 - len(plain))
        except zlib.error:
            raise RequestRefused("The body is not gzip, as its Content-Encoding says", "bad_gzip") from None
        if len(plain) > largest:
            raise body_too_large(largest)
        if not unpack.eof:
            raise RequestRefused("The body's gzip stream is cut off", "bad_gzip")
        packed = unpack.unused_data
        if not packed:
            return bytes(plain)
    raise RequestRefused(f"The body's gzip stream has more than {_MAX_MEMBERS} members", "bad_gzip")


def body_too_large(largest: int) -> RequestRefused:
    return RequestRefused(f"The body is larger than {largest // 1024} KiB", "too_large", 413)
