"""Collectors to send to, started and stopped for a test; and the databases they may keep things in."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.collecting import Database, Running, Serve, listening
from support.postgresql import Cluster, cluster

from koala_middleware.collector import create_app


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL server for the whole run."""
    with cluster() as running:
        yield running


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Database]:
    """Makes empty databases: SQLite's, or with `on_both_stores` also PostgreSQL's."""
    if getattr(request, "param", "sqlite") == "postgresql":
        server: Cluster = request.getfixturevalue("postgresql")
        return server.new_database
    numbers = itertools.count(1)
    return lambda: tmp_path / f"koala-{next(numbers)}.db"


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Database:
    """Where this test's collector keeps what it takes."""
    return new_database()


@pytest.fixture
def serve(database: Database) -> Iterator[Serve]:
    """Start a collector with these settings; stopped after the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            listening(create_app(settings.pop("database", database), **settings))
        )


@pytest.fixture
def collector(serve: Serve) -> Running:
    """A collector that takes everything."""
    return serve()


@pytest.fixture
def profile_id() -> str:
    return str(uuid.uuid4())
