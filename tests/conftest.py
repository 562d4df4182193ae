"""What holds for every test of this project, and what several folders ask for."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from support import needs
from support.chromium import chromium  # noqa: F401  (a fixture)

from koala_middleware.delivery.processes import close_all


@pytest.fixture(autouse=True)
def nothing_of_a_test_is_delivered_after_it() -> Iterator[None]:
    """Else what still waits for one test's dead endpoint is logged in the next one, or reaches its port."""
    yield
    close_all(longest=0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs.mark(items)


def pytest_collection_finish() -> None:
    """Takes what is loaded by now out of each collection of garbage: tests that collect it would take seconds."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    needs.list_untested(terminalreporter)
