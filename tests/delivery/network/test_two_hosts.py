"""Two web hosts, each in a network of its own, and one collector: a visitor of both is one person."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from support.namespaces import Host, host
from support.waiting import until

SHOP = Path(__file__).parent / "shop.py"
COLLECTOR = [
    "-m",
    "koala_middleware.cli",
    "collector",
    "--host",
    "0.0.0.0",
    "--port",
    "0",
    "--no-login",
    "--database",
]


@contextmanager
def serving(command: list[str], log: Path, **environment: str) -> Iterator[str]:
    """The process's address, as it says it first."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        until(lambda: "http://" in log.read_text() or process.poll() is not None, "an address")
        assert process.poll() is None, log.read_text()
        yield next(word for word in log.read_text().split() if word.startswith("http://"))
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def collector_port(tmp_path: Path) -> Iterator[int]:
    command = [sys.executable, *COLLECTOR, str(tmp_path / "koala.db")]
    with serving(command, tmp_path / "collector.log", PYTHONUNBUFFERED="1") as url:
        yield int(url.rsplit(":", 1)[1].strip("/"))


@pytest.fixture
def shops(tmp_path: Path, collector_port: int) -> Iterator[list[str]]:
    """The same site on two hosts."""
    with ExitStack() as stack:
        hosts: list[Host] = [stack.enter_context(host(number)) for number in (1, 2)]
        yield [
            stack.enter_context(
                serving(
                    one.command(sys.executable, str(SHOP), one.address),
                    tmp_path / f"{one.name}.log",
                    KOALA_PUBLIC_API_KEY="pk_test",
                    KOALA_ENDPOINT=f"http://{one.ours}:{collector_port}",
                    KOALA_FLUSH_INTERVAL="0",
                    PATH="/usr/sbin:/usr/bin:/sbin:/bin",
                )
            )
            for one in hosts
        ]


def test_one_person_seen_through_both_is_one_person(shops: list[str], collector_port: int) -> None:
    first, second = shops
    # Before they say who they are, on the first host; afterwards on the second, and on the first again.
    ko_id = visit(f"{first}/pricing", "www.shop.example")
    assert visit(f"{second}/signup", "app.shop.example", ko_id=ko_id) == ko_id
    visit(f"{first}/invoices", "www.shop.example", ko_id=ko_id)

    until(lambda: len(asked(collector_port, "entries")) >= 4, "all of it has come")
    (person,) = asked(collector_port, "people")
    assert person["email"] == "ada@example.com"
    assert {entry["email"] for entry in asked(collector_port, "entries")} == {"ada@example.com"}
    events = {entry["event"] for entry in asked(collector_port, "entries")} - {None}
    assert events == {"Saw /pricing", "Saw /signup", "Saw /invoices"}


def visit(url: str, name: str, ko_id: str | None = None) -> str:
    """A page load; the visitor's id, theirs or the one they were given for the whole domain."""
    cookies = {"ko_id": ko_id} if ko_id else {}
    answer = requests.get(url, headers={"Host": name}, cookies=cookies, timeout=20)
    answer.raise_for_status()
    given = answer.headers.get("Set-Cookie", "")
    assert ko_id or "Domain=shop.example" in given
    return ko_id or given.split("ko_id=")[1].split(";")[0]


def asked(port: int, what: str) -> list[dict[str, Any]]:
    answer = requests.get(f"http://127.0.0.1:{port}/api/{what}", timeout=20)
    return list(answer.json()[what])
