"""A real Chromium, for which every host name leads to this machine.

Knows no page and no server: each room serves what it asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from support.needs import needed

DEADLINE = 20.0  # seconds; what never comes fails, what comes late on a busy machine does not

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * 127.0.0.1",
]


# One module each: a sync Playwright keeps an event loop running in this thread, which other tests need free.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    executable = needed("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def somebodys_browser(chromium: Browser, **options: Any) -> Iterator[BrowserContext]:
    """Somebody's own: no cookies, no storage. The certificates here are nobody's that it knows."""
    context = chromium.new_context(ignore_https_errors=True, **options)
    context.set_default_timeout(DEADLINE * 1000)
    yield context
    context.close()
