"""Many batches in one request, one a line, each taken or refused on its own: what busy servers send.

Must not know who is who or how things are stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from koala_middleware.collector.receiving.batches import (
    COME_AGAIN,
    LARGEST,
    NOT_STORED,
    admit,
    allow,
    arrived_now,
    begin,
    body_of,
    refuse,
    respond,
    too_large,
)
from koala_middleware.collector.recording.writer import Arrived, NotStored, Overloaded
from koala_middleware.collector.runtime import Collector
from koala_middleware.collector.validation.batches import Refused, read_line
from koala_middleware.protocol.limits import BULK_BYTES, BULK_LINES

_BREATH = 100  # lines that are read before others have their turn

LineAnswer = dict[str, Any]  # {"status": 200}, or with "error" and "code" as a request of its own would have


class BulkEndpoint:
    """An ASGI app by itself, as the endpoints of single batches are."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        collector: Collector = scope["app"].state.collector
        whole = arrived_now(scope)
        try:
            encoding = admit(collector, whole, scope)
            lines = _lines(await body_of(receive, encoding, BULK_BYTES))
        except Refused as refused:
            await respond(send, refused.status, orjson.dumps(refuse(collector, whole, refused)))
            return
        answers = await _answers(collector, whole, lines, scope)
        come_again = any(answer["status"] in COME_AGAIN for answer in answers)
        content = orjson.dumps({"answers": answers})
        await respond(send, HTTPStatus.MULTI_STATUS, content, come_again=come_again)


def _lines(body: bytes) -> list[bytes]:
    lines = body.removesuffix(b"\n").split(b"\n")
    if len(lines) > BULK_LINES:
        raise Refused(f"The body holds {len(lines)} lines; at most {BULK_LINES}", "too_many_lines", 413)
    return lines


async def _answers(
    collector: Collector, whole: Arrived, lines: list[bytes], scope: Scope
) -> list[LineAnswer]:
    """In the lines' order, which is also the order in which they are recorded."""
    begun: list[Awaitable[object] | LineAnswer] = []
    for number, line in enumerate(lines):
        arrived = Arrived(whole.key, whole.path, whole.received_at, line, whole.user_agent)
        begun.append(_begin(collector, arrived, scope))
        if number % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
    return [one if isinstance(one, dict) else await _stored(one) for one in begun]


def _begin(collector: Collector, arrived: Arrived, scope: Scope) -> Awaitable[object] | LineAnswer:
    """What is done once the line is on disk; or its answer, where that is known at once."""
    try:
        allow(collector, arrived, scope)
        if len(arrived.body) > LARGEST:
            raise too_large(LARGEST)
        return begin(collector, arrived, read_line)[1]
    except Refused as refused:
        return {"status": refused.status, **refuse(collector, arrived, refused)}
    except Overloaded:
        return {"status": 503, **NOT_STORED}


async def _stored(one: Awaitable[object]) -> LineAnswer:
    try:
        await one
    except NotStored:
        return {"status": 503, **NOT_STORED}
    return {"status": 200}


bulk = BulkEndpoint()
