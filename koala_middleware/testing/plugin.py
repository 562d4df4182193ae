"""The pytest plugin: under pytest nothing is delivered unless asked for, and tests see what was recorded.

Installed by the package's entry point. `koala_delivery = on` in pytest's configuration leaves delivery alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from koala_middleware.testing import Collector, RecordedBatches

_recording = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "koala_delivery",
        'Whether Koala delivers while tests run: "off" (default; only to the koala_collector), or "on".',
        default="off",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before the suite's conftest.py, which may import the app and so make its client."""
    _record(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Where it is a conftest.py that names this plugin, and the other hook is over."""
    _record(config)


def _record(config: pytest.Config) -> None:
    if _recording in config.stash or config.getini("koala_delivery") == "on":
        return
    from koala_middleware.testing import recording  # noqa: PLC0415  (only where it is wanted)

    stack = config.stash[_recording] = ExitStack()
    stack.enter_context(recording())
    # For the processes that tests start.
    environment = pytest.MonkeyPatch()
    environment.setenv("KOALA_DELIVERY", "off")
    stack.callback(environment.undo)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _recording in config.stash:
        config.stash[_recording].close()


@pytest.fixture
def koala_events(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedBatches]:
    """What the app said during this test: `koala_events.assert_tracked("Logged In", email=…, method=…)`."""
    from koala_middleware.testing.recorder import listening, recording  # noqa: PLC0415

    _finish_responses(monkeypatch)
    with recording(), listening() as recorded:
        yield recorded


def _finish_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have werkzeug's and Flask's test clients read and close each response, as every server does.

    They leave that to the test, and what was said goes out with the last byte.
    """
    import werkzeug.test  # noqa: PLC0415  (only where it is wanted)

    run = werkzeug.test.run_wsgi_app

    def run_and_finish(app: Any, environ: Any, buffered: bool = False) -> Any:  # noqa: ARG001  (always)
        return run(app, environ, buffered=True)

    monkeypatch.setattr(werkzeug.test, "run_wsgi_app", run_and_finish)


@pytest.fixture
def koala_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A real collector on a free port. Apps made during this test that are given its `url` as their
    endpoint, or take it from the environment, do deliver to it."""
    from koala_middleware.testing import Collector  # noqa: PLC0415
    from koala_middleware.testing.draining import let_go  # noqa: PLC0415
    from koala_middleware.testing.recorder import delivering_to  # noqa: PLC0415

    with Collector() as collector, delivering_to(collector.url):
        monkeypatch.setenv("KOALA_ENDPOINT", collector.url)
        monkeypatch.setenv("KOALA_DELIVERY", "thread")
        yield collector
        let_go(collector.url)
