"""What machines ask: is it alive, how is it doing, what does it speak. No personal data."""

from __future__ import annotations

import asyncio
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from koala_middleware.collector.monitoring.metrics import CONTENT_TYPE_LATEST
from koala_middleware.collector.receiving.batches import answer
from koala_middleware.collector.runtime import Collector


async def healthz(request: Request) -> Response:
    """200 while batches can be written, else 503."""
    collector = _collector(request)
    alive = collector.writer.running and await asyncio.to_thread(collector.store.answers)
    return answer({"ok": alive}, 200 if alive else 503)


def metrics(request: Request) -> Response:
    return Response(_collector(request).measures.text(), media_type=CONTENT_TYPE_LATEST)


def openapi(request: Request) -> Response:  # noqa: ARG001  (an endpoint's shape)
    document = resources.files("koala_middleware.collector").joinpath("openapi.json").read_bytes()
    return Response(document, media_type="application/json")


def _collector(request: Request) -> Collector:
    collector: Collector = request.app.state.collector
    return collector


routes = [Route("/healthz", healthz), Route("/metrics", metrics), Route("/openapi.json", openapi)]
