"""A collector as a process of its own, as the command line starts it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from support.collecting import KEY, Database

AGENT = {"User-Agent": "tests/1.0"}


@contextmanager
def started(database: Database, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address it says it listens at."""
    command = [sys.executable, "-m", "koala_middleware.cli", "collector", "--port", "0"]
    with subprocess.Popen(
        [*command, "--database", str(database), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip().removeprefix("Collector: ")
        finally:
            process.kill()


def batch_url(url: str) -> str:
    return f"{url}/web/projects/{KEY}/batch"
