"""Health, metrics and the OpenAPI document, for machines. Must not show personal data."""

from __future__ import annotations

import asyncio
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from koala_middleware.collector.http import json_response
from koala_middleware.collector.metrics import CONTENT_TYPE_LATEST
from koala_middleware.collector.runtime import collector_of


async def healthz(request: Request) -> Response:
    """200 while batches can be written, else 503."""
    collector = collector_of(request)
    alive = collector.writer.running and await asyncio.to_thread(collector.store.answers)
    return json_response({"ok": alive}, 200 if alive else 503)


def metrics(request: Request) -> Response:
    return Response(collector_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


def openapi(request: Request) -> Response:  # noqa: ARG001  (an endpoint's shape)
    document = resources.files("koala_middleware.collector").joinpath("openapi.json").read_bytes()
    return Response(document, media_type="application/json")


routes = [Route("/healthz", healthz), Route("/metrics", metrics), Route("/openapi.json", openapi)]
