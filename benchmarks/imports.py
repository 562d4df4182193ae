"""What importing the package adds to an app's start: CPU time of fresh processes, one after the other in turn.

Run: python benchmarks/imports.py
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

ROUNDS = 15
ADAPTERS = {
    "koala_middleware.asgi": "import starlette.requests, starlette.concurrency",
    "koala_middleware.wsgi": "import json",
    "koala_middleware.flask": "import flask",
    "koala_middleware.fastapi": "import fastapi",
    "koala_middleware.django": "import django.http, asgiref.sync",
}


def cpu_milliseconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def added_by(module: str, framework: str) -> tuple[float, float]:
    """Medians in milliseconds: the framework alone, and what our module adds."""
    without, with_ours = [], []
    for _ in range(ROUNDS):
        without.append(cpu_milliseconds(framework))
        with_ours.append(cpu_milliseconds(f"{framework}; import {module}"))
    alone = statistics.median(without)
    return alone, statistics.median(with_ours) - alone


def main() -> None:
    for module, framework in ADAPTERS.items():
        alone, added = added_by(module, framework)
        print(f"{added:7.0f} ms  {module}, above {alone:.0f} ms of Python with `{framework}`")


if __name__ == "__main__":
    main()
