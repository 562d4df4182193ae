"""Transports to the endpoint, by each HTTP library, in an environment without proxies."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.listener import Listener, serving

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.base import Transport
from koala_middleware.delivery.transports.choosing import transport_for
from koala_middleware.protocol.batches import Batch

MakeBatch = Callable[..., Batch]
Sent = Callable[..., Answer]
_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Listener]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(context) as listener:
        yield listener


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return str(tmp_path / "authority.pem")


@pytest.fixture(params=["http", "curl"])
def sent(request: pytest.FixtureRequest) -> Iterator[Sent]:
    """Sends to an endpoint: over a kept connection, where it is the same one."""
    with ExitStack() as stack:
        transports: dict[str, Transport] = {}

        def send(endpoint: str, batch: Batch, timeout: float = 10.0) -> Answer:
            config = KoalaConfig(public_api_key="pk_test", endpoint=endpoint, transport=request.param)
            if endpoint not in transports:
                transports[endpoint] = stack.enter_context(closing(transport_for(config)))
            return transports[endpoint].send(batch, timeout)

        yield send


@pytest.fixture(params=["fresh", "kept"])
def answered(request: pytest.FixtureRequest, sent: Sent, batch: MakeBatch) -> Sent:
    """Sends a batch to a listener, over a connection that is fresh or has brought a good answer before."""

    def send(listener: Listener, timeout: float = 10.0, **answer: Any) -> Answer:
        endpoint = f"http://127.0.0.1:{listener.port}"
        if request.param == "kept":
            assert sent(endpoint, batch("ada", 0), timeout=3600.0).status == 200
        vars(listener).update(answer)
        return sent(endpoint, batch("ada", 1), timeout)

    return send
