"""The brokers that this room's tests share, started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.brokers import Broker, RabbitServer, RedisServer, running
from support.chains import KINDS, Chain, chained


@pytest.fixture(scope="package")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running(RabbitServer(tmp_path_factory.mktemp("rabbitmq"))) as broker:
        yield broker


@pytest.fixture(scope="package")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running(RedisServer(tmp_path_factory.mktemp("redis"))) as broker:
        yield broker


@pytest.fixture(scope="module", params=[name for name, kind in KINDS.items() if kind.promised])
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    kind = KINDS[request.param]
    with chained(kind, request.getfixturevalue(kind.broker), tmp_path_factory.mktemp("chain")) as chain:
        yield chain
