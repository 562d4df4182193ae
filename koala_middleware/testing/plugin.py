"""The pytest plugin: nothing is delivered under pytest unless a test asks for it, and tests see what was recorded.

The package's entry point installs it. `koala_delivery = on` in pytest's configuration turns delivery on.
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
    """Runs before the suite's conftest.py, which may import the app and so make its client."""
    _start_recording(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Runs where a conftest.py names this plugin, too late for the other hook."""
    _start_recording(config)


def _start_recording(config: pytest.Config) -> None:
    if _recording in config.stash or config.getini("koala_delivery") == "on":
        return
    from koala_middleware.testing import recording  # noqa: PLC0415  (only when it is needed)

    stack = config.stash[_recording] = ExitStack()
    stack.enter_context(recording())
    # For processes that tests start.
    environment = pytest.MonkeyPatch()
    environment.setenv("KOALA_DELIVERY", "off")
    stack.callback(environment.undo)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _recording in config.stash:
        config.stash[_recording].close()


@pytest.fixture
def koala_events(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedBatches]:
    """What the app recorded during this test: `koala_events.assert_tracked("Logged In", email=…, method=…)`."""
    from koala_middleware.testing.recorder import listening, recording  # noqa: PLC0415

    _finish_responses(monkeypatch)
    with recording(), listening() as recorded:
        yield recorded


def _finish_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes werkzeug's and Flask's test clients read and close each response, as every server does.

    Otherwise they leave that to the test, and entries leave only with the last byte.
    """
    import werkzeug.test  # noqa: PLC0415  (only when it is needed)

    run = werkzeug.test.run_wsgi_app

    def run_and_finish(app: Any, environ: Any, buffered: bool = False) -> Any:  # noqa: ARG001  (always buffered)
        return run(app, environ, buffered=True)

    monkeypatch.setattr(werkzeug.test, "run_wsgi_app", run_and_finish)


@pytest.fixture
def koala_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A real collector on a free port.

    Apps made during this test deliver to it if its `url` is their endpoint, given or from the environment.
    """
    from koala_middleware.testing import Collector  # noqa: PLC0415
    from koala_middleware.testing.draining import close_clients_of  # noqa: PLC0415
    from koala_middleware.testing.recorder import delivering_to  # noqa: PLC0415

    with Collector() as collector, delivering_to(collector.url):
        monkeypatch.setenv("KOALA_ENDPOINT", collector.url)
        monkeypatch.setenv("KOALA_DELIVERY", "thread")
        yield collector
        close_clients_of(collector.url)
