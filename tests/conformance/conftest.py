"""The fixture `site`: one small site on every framework, in its test client and on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conformance.gates import Gate
from conformance.sites import FRAMEWORKS, RealServers, Site, in_test_client, on_server

from koala_middleware.testing import Collector

KEY = "pk_conformance"
SERVERS = {"asgi": "uvicorn", "wsgi": "gunicorn"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Rows: a test that asks for `site` runs everywhere, one that asks for `served` on real servers alone.

    `@pytest.mark.only(interface="wsgi")` narrows to frameworks with that attribute.
    """
    if "site" not in metafunc.fixturenames:
        return
    ways = ("server",) if "served" in metafunc.fixturenames else ("client", "server")
    only = {
        name: value
        for mark in metafunc.definition.iter_markers("only")
        for name, value in mark.kwargs.items()
    }
    rows = [
        pytest.param(
            (framework, way),
            id=f"{framework.name}-{SERVERS[framework.interface] if way == 'server' else way}",
            marks=pytest.mark.needs_server if way == "server" else (),
        )
        for framework in FRAMEWORKS
        for way in ways
        if all(getattr(framework, name) == value for name, value in only.items())
    ]
    metafunc.parametrize("row", rows)


@pytest.fixture(scope="session")
def real_servers() -> Iterator[RealServers]:
    servers = RealServers()
    yield servers
    servers.stop()


@pytest.fixture
def site(
    row: Any,
    request: pytest.FixtureRequest,
    koala_collector: Collector,
    real_servers: RealServers,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Site]:
    """The site with this test's settings: `@pytest.mark.koala(exclude_paths=["/health"])`."""
    framework, way = row
    settings = {
        "public_api_key": KEY,
        "endpoint": koala_collector.url,
        "delivery": "thread",
        "flush_interval": 0.01,
    }
    for mark in request.node.iter_markers("koala"):
        settings |= mark.kwargs
    if way == "server":
        server = real_servers.server(SERVERS[framework.interface], framework.app)
        with on_server(server, framework, settings) as running:
            yield running
    else:
        with in_test_client(framework, settings, lambda: caplog.text) as running:
            yield running


@pytest.fixture
def served(site: Site) -> Site:
    """The site where it runs on a real server."""
    return site


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as gate:
        yield gate
