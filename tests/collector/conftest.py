"""Collectors to send to, started and stopped for a test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.collecting import Running, Serve, listening

from koala_middleware.collector import create_app


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a collector with these settings; stopped after the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            listening(create_app(settings.pop("database", tmp_path / "koala.db"), **settings))
        )


@pytest.fixture
def collector(serve: Serve) -> Running:
    """A collector that takes everything."""
    return serve()


@pytest.fixture
def profile_id() -> str:
    return str(uuid.uuid4())
