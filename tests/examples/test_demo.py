"""`make demo` starts everything, says what to click, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

EXAMPLES = Path(__file__).parents[2] / "example_apps"
LAST_LINE = "Press Ctrl-C to stop."
DEADLINE = 60.0  # seconds

Demo = subprocess.Popen[str]


@pytest.fixture
def start_demo() -> Iterator[Callable[[], Demo]]:
    started: list[Demo] = []

    def start() -> Demo:
        command = [sys.executable, str(EXAMPLES / "demo.py")]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for demo in started:
        demo.terminate()
        demo.communicate(timeout=DEADLINE)


def guide(demo: Demo) -> str:
    """What the demo prints once everything answers."""
    assert demo.stdout is not None
    said = ""
    while LAST_LINE not in said:
        line = demo.stdout.readline()
        assert line, f"the demo ended before it was ready: {demo.communicate()}"
        said += line
    return said


def ports(said: str) -> list[int]:
    return [int(port) for port in re.findall(r"http://\S+:(\d+)", said)]


def children(process: Demo) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_running(part: int) -> bool:
    """Whether anything is left of a part, which leads a process group of its own."""
    try:
        os.killpg(part, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_all_parts_answer_at_the_printed_ports_and_all_are_gone_when_it_ends(
    start_demo: Callable[[], Demo], number: signal.Signals
) -> None:
    demo = start_demo()
    answers = [requests.get(f"http://127.0.0.1:{port}", timeout=DEADLINE) for port in ports(guide(demo))]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200]
    parts = children(demo)
    assert len(parts) == 4

    demo.send_signal(number)
    assert demo.wait(DEADLINE) == 0
    assert not any(is_running(part) for part in parts)


def test_signing_up_on_one_site_leaves_a_browser_logged_in_on_the_others(
    start_demo: Callable[[], Demo],
) -> None:
    """By address, too, where a browser sends one site's cookies to all ports. All sites see one visitor."""
    _, *sites = [f"http://127.0.0.1:{port}" for port in ports(guide(start_demo()))]
    with requests.Session() as browser:
        for site in sites:
            browser.get(f"{site}/signup", timeout=DEADLINE)
            form = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
            csrf = {"csrfmiddlewaretoken": browser.cookies.get("csrftoken", "")}
            browser.post(f"{site}/signup", form | csrf, timeout=DEADLINE)
        pages = [browser.get(f"{site}/account", timeout=DEADLINE).text for site in sites]
        assert all("Hello, Ada." in page for page in pages)
        assert all(browser.cookies["ko_id"] in page for page in pages)


def test_a_port_in_use_is_stepped_over(start_demo: Callable[[], Demo]) -> None:
    with ExitStack() as stack:
        # Refused where something else has the port already, which is as good.
        with suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", 8600)))
        assert 8600 not in ports(guide(start_demo()))


def test_a_part_that_dies_is_named_with_the_end_of_its_log_and_ends_the_demo(
    start_demo: Callable[[], Demo],
) -> None:
    demo = start_demo()
    guide(demo)
    parts = children(demo)
    os.kill(parts[1], signal.SIGTERM)
    _, errors = demo.communicate(timeout=DEADLINE)
    assert demo.returncode == 1
    assert errors.startswith("flask exited with status -15.\n")
    assert "Serving Flask app" in errors
    assert not any(is_running(part) for part in parts)


def test_the_three_sites_share_one_look() -> None:
    sheets = {sheet.read_text() for sheet in EXAMPLES.glob("*_app/**/style.css")}
    assert len(sheets) == 1


@pytest.mark.parametrize("framework", ["flask", "django", "fastapi"])
def test_what_a_handler_says_is_the_same_in_every_framework(framework: str) -> None:
    """Only the code around these lines depends on the framework."""
    source = "".join(file.read_text() for file in (EXAMPLES / f"{framework}_app").rglob("*.py"))
    said = re.findall(r"^ +(request\.koala\.\w+)\(", source, re.M)
    assert said == [
        "request.koala.track",
        *["request.koala.identify", "request.koala.track"] * 3,
        "request.koala.track",
        "request.koala.reset",
    ]
    assert 'request.koala.identify(member.email, {"name": member.name})' in source
    assert 'request.koala.track("Logged In", {"method": "password"})' in source
