"""What a test needs beside Python: a program that it drives, or a service of some kind.

`make quick` leaves out whatever needs a browser, a broker, a database server or a real web server. A test's need
follows from the fixtures it uses or from its folder; where neither tells, its module or its row is marked by hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from support.programs import PACKAGES, line_that_installs, missing, path_of

TESTS = Path(__file__).parents[1]
_BY_FIXTURE = {
    "chromium": "needs_browser",
    "rabbit": "needs_broker",
    "redis": "needs_broker",
    "redis_url": "needs_broker",
    "chain": "needs_broker",
    "postgresql": "needs_database",
}
_BY_FOLDER = {
    "collector/browser": "needs_browser",
    "identity/browser": "needs_browser",
    "delivery/brokers": "needs_broker",
    "delivery/network": "needs_server",
    "examples": "needs_server",
}
_MISSING = "needs a program that is missing: "


def needed(program: str) -> str:
    """The path of a program that a test cannot do without. In CI it has to be there."""
    found = path_of(program)
    if found is not None:
        return str(found)
    reason = f"{_MISSING}{program}: {line_that_installs([PACKAGES[program]])}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def mark(items: Iterable[pytest.Item]) -> None:
    """Marks each test with what it needs."""
    for item in items:
        # Fixtures by name, and rows that are named as one: `new_database[postgresql]`.
        rows = item.callspec.params.values() if hasattr(item, "callspec") else ()
        fixtures = {*getattr(item, "fixturenames", ()), *(row for row in rows if type(row) is str)}
        folder = item.path.relative_to(TESTS).parent.as_posix() + "/"
        needs = {need for fixture, need in _BY_FIXTURE.items() if fixture in fixtures}
        needs |= {need for place, need in _BY_FOLDER.items() if folder.startswith(f"{place}/")}
        for need in sorted(needs):
            item.add_marker(need)


def list_untested(reporter: pytest.TerminalReporter) -> None:
    """One list of what was skipped for want of a program, and the line that installs it all."""
    reasons = [report.longrepr[2] for report in reporter.stats.get("skipped", [])]
    skipped = [reason.partition(_MISSING)[2].partition(":")[0] for reason in reasons if _MISSING in reason]
    if not skipped:
        return
    reporter.section("not tested here", yellow=True)
    for program in sorted(set(skipped)):
        reporter.line(f"{skipped.count(program)} tests need {program}")
    reporter.line(f"All of them run after: {line_that_installs(PACKAGES[name] for name in missing())}")
