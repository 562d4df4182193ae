"""The endpoints of deletion requests. They ask for the secret key. Must not know how people are stored."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from koala_middleware.collector.deletion import erasure
from koala_middleware.collector.http import json_response, read_body
from koala_middleware.collector.runtime import Collector, collector_of
from koala_middleware.collector.validation.json_object import parse_object
from koala_middleware.collector.validation.refusal import RequestRefused

MAX_EMAILS = 50  # in one deletion request; the rest is ignored, as the hosted service did


async def request_deletion(request: Request) -> Response:
    """Erase people by email, at once. The answer holds the id under which the receipt is kept."""
    collector = collector_of(request)
    _check_secret_key(request)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    emails = _emails(parse_object(await read_body(request.receive, encoding)))
    receipt = await asyncio.wrap_future(erasure.erase(collector.writer, emails))
    return json_response({"deletion_request_id": receipt["id"]})


async def deletion_receipt(request: Request) -> Response:
    _check_secret_key(request)
    receipt = await asyncio.to_thread(_receipt, collector_of(request), request.path_params["id"])
    if receipt is None:
        raise RequestRefused("No deletion request has this id", "unknown_id", 404)
    return Response(receipt, media_type="application/json")


def _receipt(collector: Collector, deletion_id: str) -> str | None:
    with collector.store.reader() as reader:
        return reader.deletion(deletion_id)


def _emails(body: dict[str, Any]) -> list[str]:
    emails = body.get("emails")
    if not isinstance(emails, list) or not all(isinstance(email, str) for email in emails):
        raise RequestRefused(
            'emails must be an array of texts: {"emails": ["ada@example.com"]}', "bad_emails"
        )
    return emails[:MAX_EMAILS]


def _check_secret_key(request: Request) -> None:
    secret = collector_of(request).settings.secret_key
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if secret is None:
        raise RequestRefused(
            "Deletion requests are off: start the collector with --secret-key sk_…", "deletion_off", 404
        )
    if scheme.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), secret.encode()):
        raise RequestRefused("Authorization: Bearer with the secret key is required", "unauthorized", 401)
