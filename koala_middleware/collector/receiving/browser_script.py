"""The rest of the protocol: the script's bootstrap, profiles, metrics, key checks, deletion requests, the script.

Must not know who is who or how things are stored.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from koala_middleware.collector.deletion import erasure
from koala_middleware.collector.receiving.batches import answer, body_of, take
from koala_middleware.collector.runtime import Collector
from koala_middleware.collector.validation.batches import (
    Batch,
    Refused,
    read_object,
    read_person_batch,
    read_profile_id,
)

EMAILS = 50  # in one deletion request; the rest is ignored, as the hosted service did
SCRIPT = Path(__file__).parent / "sdk.js"
SCRIPT_KEPT = 300  # seconds a browser may keep the script


async def bootstrap(request: Request) -> Response:
    """What the browser script asks first: its profile_id, echoed or minted, and what is switched on (nothing).

    Servers that send for many people learn here that they may send in bulk.
    """
    if not _takes(request):
        return _unknown_key()
    return answer(
        {
            "profile_id": _profile_id(request),
            "bulk": True,
            "sdk_settings": {
                "form_collection": "off",
                "websocket_connection": "off",
                "segment_auto_track": "off",
                "autocapture": "off",
                "cookie_defaults": {},
            },
            "widget_settings": {"enabled": False},
            "playbooks": [],
            "channel_settings": [],
        },
        headers={"Cache-Control": "no-store"},
    )


def _profile_id(request: Request) -> str:
    """The one that was given, where a batch may carry it, too; else a new one."""
    with suppress(Refused):
        if given := read_profile_id(request.query_params.get("profile_id")):
            return given
    return str(uuid.uuid4())


def read_profile(key: str, raw: bytes, now: int) -> Batch:
    """A `profiles` request is a batch without entries, whose traits count.

    Who gives an email alone gets a new profile that is the person's. To answer one known already would tell anybody
    which browser is behind an email: the key is public.
    """
    body = read_object(raw)
    kept = {name: body[name] for name in ("profile_id", "email", "traits") if name in body}
    batch = read_person_batch(key, orjson.dumps(kept), now)
    batch.profile_id = batch.profile_id or str(uuid.uuid4())
    return batch


async def profiles(request: Request) -> Response:
    """The script's `qualify()`: records what it says, and knows nothing to qualify by."""
    collector = _collector(request)
    status, content, batch = await take(collector, request.scope, request.receive, read_profile)
    if batch is None:
        return Response(content, status, media_type="application/json")
    return answer({"profile_id": batch.profile_id, "q": None, "a": {}})


async def metrics(request: Request) -> Response:
    """The script's own telemetry: accepted and dropped."""
    if not _takes(request):
        return _unknown_key()
    try:
        await body_of(request.receive, request.headers.get("content-encoding", "").strip().lower())
    except Refused as refused:
        return refusal(refused)
    return answer({"ok": True})


async def auth(request: Request) -> Response:
    """Whether the key is one of ours: what integrations ask before they send."""
    return answer({"ok": True}) if _takes(request) else _unknown_key()


async def script(request: Request) -> Response:
    if not _takes(request):
        return _unknown_key()
    headers = {"Cache-Control": f"public, max-age={SCRIPT_KEPT}", "X-Content-Type-Options": "nosniff"}
    return FileResponse(SCRIPT, media_type="text/javascript", headers=headers)


async def request_deletion(request: Request) -> Response:
    """Erase people by email, at once; the answer holds the id under which the receipt is kept."""
    collector = _collector(request)
    denied = _denied(request)
    if denied:
        return denied
    try:
        body = read_object(await body_of(request.receive, request.headers.get("content-encoding", "")))
        emails = _emails(body)
    except Refused as refused:
        return refusal(refused)
    receipt = await asyncio.wrap_future(erasure.erase(collector.writer, emails))
    return answer({"deletion_request_id": receipt["id"]})


async def deletion(request: Request) -> Response:
    denied = _denied(request)
    if denied:
        return denied
    receipt = await asyncio.to_thread(_receipt, _collector(request), request.path_params["id"])
    if receipt is None:
        return answer({"error": "No deletion request has this id", "code": "unknown_id"}, 404)
    return Response(receipt, media_type="application/json")


def _receipt(collector: Collector, deletion_id: str) -> str | None:
    with collector.store.reader() as reader:
        return reader.deletion(deletion_id)


def _emails(body: dict[str, Any]) -> list[str]:
    emails = body.get("emails")
    if not isinstance(emails, list) or not all(isinstance(email, str) for email in emails):
        raise Refused('emails must be an array of texts: {"emails": ["ada@example.com"]}', "bad_emails")
    return emails[:EMAILS]


def _denied(request: Request) -> Response | None:
    """An answer to whoever does not bear the secret key."""
    secret = _collector(request).settings.secret_key
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if secret is None:
        return answer({"error": "Deletion requests are off: start the collector with --secret-key sk_…"}, 404)
    if scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), secret.encode()):
        return None
    return answer(
        {"error": "Authorization: Bearer with the secret key is required", "code": "unauthorized"}, 401
    )


def refusal(refused: Refused) -> Response:
    return answer({"error": refused.message, "code": refused.code}, refused.status)


def _unknown_key() -> Response:
    return answer(
        {"error": "This collector does not take this key: see its --key", "code": "unknown_key"}, 404
    )


def _takes(request: Request) -> bool:
    return _collector(request).settings.takes(request.path_params["key"])


def _collector(request: Request) -> Collector:
    collector: Collector = request.app.state.collector
    return collector
