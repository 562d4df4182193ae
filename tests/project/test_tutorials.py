"""docs/tutorials/, typed as they are written: each ends with its events in a real collector.

What stands between an empty folder and the installed packages (`python3 -m venv`, `pip install`) is left out: the
packages are those of this environment.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from support.waiting import until

pytestmark = pytest.mark.needs_server

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md"))
STEP = re.compile(
    r"""Save\ this\ as\ `(?P<new>[^`]+)`:\n\n```\w+\n(?P<content>.*?)^```
       |At\ the\ end\ of\ `(?P<changed>[^`]+)`,\ add:\n\n```\w+\n(?P<added>.*?)^```
       |^```sh\n(?P<commands>.*?)^```""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
INSTALLING = ("python3 -m venv", ". .venv/bin/activate", "pip install")
SERVERS = (
    "koala-middleware collector",
    "flask run",
    "python manage.py runserver",
    "uvicorn",
    "quart run",
    "python app.py",
)
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="(\w+)">')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Reader:
    """Somebody who follows a tutorial in an empty folder."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._folder = folder
        self._running = running
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "KOALA_DELIVERY": "thread"}

    def follow(self, tutorial: str) -> None:
        for step in STEP.finditer(tutorial):
            if step["new"]:
                self._save(step["new"], step["content"])
            elif step["changed"]:
                self._save(step["changed"], (self._folder / step["changed"]).read_text() + step["added"])
            else:
                for command in step["commands"].splitlines():
                    self._run(command)

    def _save(self, name: str, content: str) -> None:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def _run(self, command: str) -> None:
        if command.startswith(INSTALLING):
            return
        if not command.startswith(SERVERS):
            subprocess.run(command.split(), cwd=self._folder, env=self._environment, check=True)
            return
        server = subprocess.Popen(
            command.split(), cwd=self._folder, env=self._environment, stderr=subprocess.DEVNULL
        )
        self._running.callback(server.wait)
        self._running.callback(server.terminate)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with ExitStack() as running:
        yield Reader(tmp_path, running)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_ends_with_its_events_at_the_collector(page: Path, reader: Reader) -> None:
    collector, site = free_port(), free_port()
    reader.follow(page.read_text().replace("8600", str(collector)).replace("8000", str(site)))

    with requests.Session() as browser:
        until(lambda: answers(browser, f"http://127.0.0.1:{collector}/healthz"), "the collector answers")
        until(lambda: answers(browser, f"http://127.0.0.1:{site}/favicon.ico"), "the site answers")
        home = browser.get(f"http://127.0.0.1:{site}/", timeout=10)
        form = {"email": "ada@example.com", **dict(HIDDEN.findall(home.text))}
        signed_up = browser.post(f"http://127.0.0.1:{site}/signup", data=form, timeout=10)
        assert signed_up.text == "Welcome!"
        visitor = browser.cookies.get_dict()["ko_id"]

        until(lambda: len(entries(browser, collector)) >= 3, "the entries arrive")
        arrived = entries(browser, collector)
    assert {(entry["kind"], entry.get("event"), entry["profile_id"]) for entry in arrived} == {
        ("track", "Viewed Home", visitor),
        ("identify", None, visitor),
        ("track", "Signed Up", visitor),
    }
    assert {entry["email"] for entry in arrived} == {"ada@example.com"}


def answers(browser: requests.Session, url: str) -> bool:
    try:
        browser.get(url, timeout=10)
    except requests.ConnectionError:
        return False
    return True


def entries(browser: requests.Session, collector: int) -> list[dict[str, Any]]:
    answer = browser.get(f"http://127.0.0.1:{collector}/api/entries", timeout=10)
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found
