"""A failed request leaves nothing for the garbage collector, which would close connections on any thread of the app."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import urllib3
from support import garbage
from support.listener import serving

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.choosing import transport_for
from koala_middleware.protocol.batches import Batch

MakeBatch = Callable[..., Batch]


@pytest.fixture
def no_collector() -> Iterator[None]:
    garbage.from_here_on()
    gc.disable()
    yield
    gc.enable()


def pools() -> int:
    # By type: a proxy of another test's may look up a setting when it is asked for its class.
    return sum(issubclass(type(found), urllib3.HTTPConnectionPool) for found in gc.get_objects())


def send(endpoint: str, batch: Batch, timeout: float = 0.3) -> int | None:
    config = KoalaConfig(public_api_key="pk_test", endpoint=endpoint)
    with closing(transport_for(config)) as transport:
        return transport.send(batch, timeout).status


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "https://127.0.0.1:9", "http://koala.invalid"])
def test_a_failed_connection_leaves_no_pool(batch: MakeBatch, endpoint: str) -> None:
    before = pools()
    assert send(endpoint, batch("ada", 1)) is None
    assert pools() == before


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_endpoint_that_does_not_answer_leaves_no_pool(batch: MakeBatch, scheme: str) -> None:
    before = pools()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert send(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", batch("ada", 1)) is None
    assert pools() == before


@pytest.mark.usefixtures("no_collector")
def test_a_proxy_without_a_tunnel_leaves_no_pool(batch: MakeBatch, environment: pytest.MonkeyPatch) -> None:
    before = pools()
    with serving() as proxy:
        proxy.status = 502
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert send("https://collector.example", batch("ada", 1)) is None
    assert pools() == before


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("more", [{}, {"promised": 10}, {"more": {"Content-Encoding": "gzip"}}])
def test_an_answer_whole_or_broken_leaves_no_pool(batch: MakeBatch, more: dict[str, object]) -> None:
    before = pools()
    with serving() as endpoint:
        vars(endpoint).update(more)
        send(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1))
    assert pools() == before
