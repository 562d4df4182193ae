"""The endpoints of the browser script: the script itself, its bootstrap, `qualify()`, telemetry and the key check.

Must not know who is who or how things are stored.
"""

from __future__ import annotations

import re
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response

from koala_middleware.collector.http import json_response, read_body
from koala_middleware.collector.receiving.batch_endpoint import check_key, check_origin, handle_batch
from koala_middleware.collector.runtime import collector_of
from koala_middleware.collector.validation.checked import IncomingBatch
from koala_middleware.collector.validation.fields import parse_profile_id
from koala_middleware.collector.validation.json_object import parse_object
from koala_middleware.collector.validation.parsing import parse_person_batch
from koala_middleware.collector.validation.refusal import RequestRefused

SCRIPT = Path(__file__).parent / "sdk.js"
SCRIPT_MAX_AGE = 300  # seconds

_SWITCHED_OFF = {
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
}


async def bootstrap(request: Request) -> Response:
    """What the browser script asks first: its profile_id, echoed or minted, and the features, all switched off.

    Servers that send for many people learn here that they may send in bulk.
    """
    _check_key(request)
    answer = {"profile_id": _profile_id(request), "bulk": True, **_SWITCHED_OFF}
    return json_response(answer, headers={"Cache-Control": "no-store"})


def _profile_id(request: Request) -> str:
    """The given one where a batch may carry it, too; else a new one."""
    with suppress(RequestRefused):
        if given := parse_profile_id(request.query_params.get("profile_id")):
            return given
    return str(uuid.uuid4())


async def profiles(request: Request) -> Response:
    """The script's `qualify()`: records the traits it carries. The answer holds no qualification."""
    collector = collector_of(request)
    status, content, batch = await handle_batch(collector, request.scope, request.receive, _parse_profile)
    if batch is None:
        return Response(content, status, media_type="application/json")
    return json_response({"profile_id": batch.profile_id, "q": None, "a": {}})


def _parse_profile(key: str, raw: bytes, now: int) -> IncomingBatch:
    """A `profiles` request is a batch of its top-level traits.

    An email alone gets a new profile, which becomes the person's. Answering with a known profile would tell anybody
    which browser belongs to an email, since the key is public.
    """
    body = parse_object(raw)
    kept = {name: body[name] for name in ("profile_id", "email", "traits") if name in body}
    batch = parse_person_batch(key, orjson.dumps(kept), now)
    batch.profile_id = batch.profile_id or str(uuid.uuid4())
    return batch


async def telemetry(request: Request) -> Response:
    """The script's own measurements: accepted and dropped."""
    _check_key(request)
    check_origin(collector_of(request), request.headers.get("origin"))
    await read_body(request.receive, request.headers.get("content-encoding", "").strip().lower())
    return json_response({"ok": True})


async def auth(request: Request) -> Response:
    """Whether the key is taken here: integrations ask before they send, and expect 401 otherwise."""
    try:
        _check_key(request)
    except RequestRefused as refused:
        raise RequestRefused(refused.message, refused.code, 401) from None
    return json_response({"ok": True})


async def script(request: Request) -> Response:
    _check_key(request)
    headers = {"Cache-Control": f"public, max-age={SCRIPT_MAX_AGE}", "X-Content-Type-Options": "nosniff"}
    return Response(script_source(), media_type="text/javascript", headers=headers)


@cache
def script_source() -> bytes:
    """The script as it is served: without the lines that are only comments."""
    return re.sub(rb"^\s*//.*\n", b"", SCRIPT.read_bytes(), flags=re.MULTILINE)


def _check_key(request: Request) -> None:
    check_key(collector_of(request), request.path_params["key"])
