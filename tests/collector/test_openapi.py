"""/openapi.json is the whole list of what the collector answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from starlette.routing import BaseRoute, Mount, Route
from support.collecting import Running

from koala_middleware.collector import create_app


def served(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every path and method, static files aside."""
    for route in routes:
        if isinstance(route, Mount):
            yield from served(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            for method in (route.methods or {"GET"}) - {"HEAD"}:
                yield prefix + route.path, method


def test_the_openapi_document_lists_every_route_and_no_other(collector: Running, tmp_path: Path) -> None:
    document = collector.get("/openapi.json").json()
    documented = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert documented == set(served(create_app(tmp_path / "other.db").routes))
