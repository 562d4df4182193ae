"""Health, metrics and the OpenAPI document, for machines. Must not show personal data."""

from __future__ import annotations

import asyncio
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from koala_middleware.collector.http import json_response
from koala_middleware.collector.metrics import CONTENT_TYPE_LATEST
from koala_middleware.collector.recording.writer import Writer
from koala_middleware.collector.runtime import collector_of
from koala_middleware.collector.store.contract import Ledger


async def healthz(request: Request) -> Response:
    """200 while batches can be written, else 503 with the reason."""
    collector = collector_of(request)
    writer = collector.writer
    if writer.failure is not None and not await _can_write(writer):
        return json_response(
            {"ok": False, "error": f"The last requests could not be stored: {writer.failure}"}, 503
        )
    alive = writer.running and await asyncio.to_thread(collector.store.answers)
    return json_response({"ok": alive}, 200 if alive else 503)


async def _can_write(writer: Writer) -> bool:
    """Try it: whoever takes this collector out of a load balancer also keeps away the senders that would."""
    try:
        await asyncio.wrap_future(writer.run(_check_writable))
    except Exception:  # noqa: BLE001  (whatever it is, it is why nothing can be written)
        return False
    writer.failure = None
    return True


def _check_writable(ledger: Ledger) -> None:
    ledger.check_writable()


def metrics(request: Request) -> Response:
    return Response(collector_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


def openapi(request: Request) -> Response:  # noqa: ARG001  (an endpoint's shape)
    document = resources.files("koala_middleware.collector").joinpath("openapi.json").read_bytes()
    return Response(document, media_type="application/json")


routes = [Route("/healthz", healthz), Route("/metrics", metrics), Route("/openapi.json", openapi)]
