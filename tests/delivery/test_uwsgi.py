"""uWSGI tells whether threads run in it. The real one is a row of the conformance table."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from koala_middleware.delivery import Delivery
from koala_middleware.protocol.batches import Batch

Deliver = Callable[..., Delivery]
MakeBatch = Callable[..., Batch]
Endpoint = Any  # conftest.py's; reaches tests as a fixture


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What uWSGI puts into its processes, as far as it is looked at."""
    module = ModuleType("uwsgi")
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    return module


def of_ours() -> int:
    return sum(thread.name == "koala-delivery" for thread in threading.enumerate())


def test_where_threads_stand_still_whoever_hands_over_delivers_and_it_is_said(
    uwsgi: Any, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, caplog: pytest.LogCaptureFixture
) -> None:
    uwsgi.has_threads, before = 0, of_ours()  # 2.0.26, without enable-threads

    deliver().put(batch("ada", 1))

    assert endpoint.taken == ["1"]
    assert of_ours() == before
    assert caplog.text.count("uWSGI runs without enable-threads") == 1


def test_where_they_run_a_thread_delivers(
    uwsgi: Any, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, caplog: pytest.LogCaptureFixture
) -> None:
    uwsgi.has_threads, uwsgi.opt = 1, {"master": True}  # 2.0.27 and later, always
    endpoint.hang()

    deliver().put(batch("ada", 1))

    assert endpoint.wait_for_posts(1)
    assert of_ours()
    assert "uWSGI" not in caplog.text
    endpoint.released.set()
