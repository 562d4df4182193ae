"""An endpoint that answers as a test says, and deliveries to it, in this process or in one of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support.batches
from support.endpoint import BatchEndpoint
from support.waiting import until

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.protocol.batches import Batch


@pytest.fixture
def endpoint() -> Iterator[BatchEndpoint]:
    with BatchEndpoint() as listening:
        yield listening


@pytest.fixture
def transport() -> str:
    """What this test's batches go by. A module that names several holds what is true of each."""
    return "http"


@pytest.fixture
def defaults(endpoint: BatchEndpoint, transport: str) -> dict[str, Any]:
    return {
        "public_api_key": "pk_test",
        "endpoint": endpoint.url,
        "transport": transport,
        "flush_interval": 0,
    }


@pytest.fixture
def config_for(defaults: dict[str, Any]) -> Callable[..., KoalaConfig]:
    return lambda **settings: KoalaConfig(**{**defaults, **settings})


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """`batch("ada", 1, 2)`: two events of one visitor."""
    return support.batches.batch


@pytest.fixture
def deliver(config_for: Callable[..., KoalaConfig]) -> Iterator[Callable[..., Delivery]]:
    """Makes deliveries to the endpoint; closed at the test's end without waiting for anything."""
    made: list[Delivery] = []

    def make(**settings: Any) -> Delivery:
        made.append(Delivery(config_for(**settings)))
        return made[-1]

    yield make
    for delivery in made:
        delivery.close(0)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits until something that nobody announces is so; fails after some seconds."""

    return lambda met, seconds=20.0: until(met, seconds=seconds)


@pytest.fixture
def run_python(defaults: dict[str, Any], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a script in a process of its own, with `delivery`, `batch` and `outbox` at hand.

    Settings are given as keywords; the script's own text is Python.
    """

    def start(script: str, **settings: Any) -> subprocess.Popen[str]:
        text = _PRELUDE.format(settings={**defaults, **settings}) + textwrap.dedent(script)
        return subprocess.Popen(
            [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", text],  # forks are meant
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    return start


_PRELUDE = """
import json, os, signal, sys, time
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.delivery import Delivery
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person

def batch(person, *ids):
    bodies = [{{"type": "track", "event": "E", "message_id": str(id_)}} for id_ in ids]
    entries = tuple(Entry("track", json.dumps(body).encode()) for body in bodies)
    return Batch(Person(profile_id=person), entries)

delivery = Delivery(KoalaConfig(**{settings!r}))
"""
