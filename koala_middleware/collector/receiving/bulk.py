"""The endpoint that takes many batches in one request, one a line. Each line is taken or refused by itself.

Must not know who is who or how things are stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from koala_middleware.collector.http import MAX_BODY, body_too_large, read_body, send_json
from koala_middleware.collector.receiving.batch_endpoint import (
    NOT_STORED,
    RETRY_LATER,
    check_headers,
    check_rate,
    keep_refused,
    new_request,
    submit_batch,
)
from koala_middleware.collector.recording.writer import NotStored, QueueFull
from koala_middleware.collector.runtime import Collector
from koala_middleware.collector.store.rows import ReceivedRequest
from koala_middleware.collector.validation.parsing import parse_line
from koala_middleware.collector.validation.refusal import RequestRefused
from koala_middleware.protocol.limits import BULK_BYTES, BULK_LINES

_PAUSE_AFTER = 100  # lines, so that other requests are served meanwhile

LineAnswer = dict[str, Any]
"""`{"status": 200}`, or with `error` and `code` as a single batch would be answered."""


class BulkEndpoint:
    """An ASGI app of its own, like the endpoints of single batches."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        collector: Collector = scope["app"].state.collector
        whole = new_request(scope)
        try:
            encoding = check_headers(collector, whole, scope)
            lines = _lines(await read_body(receive, encoding, BULK_BYTES))
        except RequestRefused as refused:
            await send_json(send, refused.status, orjson.dumps(keep_refused(collector, whole, refused)))
            return
        answers = await _answers(collector, whole, lines, scope)
        retry_later = any(answer["status"] in RETRY_LATER for answer in answers)
        content = orjson.dumps({"answers": answers})
        await send_json(send, HTTPStatus.MULTI_STATUS, content, retry_later=retry_later)


def _lines(body: bytes) -> list[bytes]:
    lines = body.removesuffix(b"\n").split(b"\n")
    if len(lines) > BULK_LINES:
        raise RequestRefused(
            f"The body holds {len(lines)} lines; at most {BULK_LINES}", "too_many_lines", 413
        )
    return lines


async def _answers(
    collector: Collector, whole: ReceivedRequest, lines: list[bytes], scope: Scope
) -> list[LineAnswer]:
    """In the order of the lines, in which they are also recorded."""
    pending: list[Awaitable[object] | LineAnswer] = []
    for number, line in enumerate(lines, 1):
        received = ReceivedRequest(whole.key, whole.path, whole.received_at, line, whole.user_agent)
        pending.append(_submit(collector, received, scope))
        if number % _PAUSE_AFTER == 0:
            await asyncio.sleep(0)
    return [each if isinstance(each, dict) else await _answer(each) for each in pending]


def _submit(collector: Collector, received: ReceivedRequest, scope: Scope) -> Awaitable[object] | LineAnswer:
    """An awaitable that is done once the line is on disk; or its answer, when that is known at once."""
    try:
        check_rate(collector, received, scope)
        if len(received.body) > MAX_BODY:
            raise body_too_large(MAX_BODY)
        return submit_batch(collector, received, parse_line)[1]
    except RequestRefused as refused:
        return {"status": refused.status, **keep_refused(collector, received, refused)}
    except QueueFull:
        return {"status": HTTPStatus.SERVICE_UNAVAILABLE, **NOT_STORED}


async def _answer(stored: Awaitable[object]) -> LineAnswer:
    try:
        await stored
    except NotStored:
        return {"status": HTTPStatus.SERVICE_UNAVAILABLE, **NOT_STORED}
    return {"status": HTTPStatus.OK}


bulk = BulkEndpoint()
