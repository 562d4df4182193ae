"""The collector as a process: where it listens, how it stops, what survives a kill."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
import requests
from support.collecting import DEADLINE, event
from support.collector_process import AGENT, batch_url, started
from support.waiting import until

pytestmark = pytest.mark.needs_server


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_the_collector_prints_its_address_and_stops_at_once_though_a_stream_is_open(
    tmp_path: Path, stop: int
) -> None:
    with (
        started(tmp_path / "koala.db") as (process, url),
        requests.get(f"{url}/live/stream", stream=True, timeout=DEADLINE) as stream,
    ):
        assert next(stream.iter_lines()) == b"retry: 1000"
        process.send_signal(stop)
        assert process.wait(4.5) in {0, -stop, 128 + stop}, "well before uvicorn would cut streams off"


def test_what_was_answered_200_survives_kill_9(tmp_path: Path) -> None:
    answered: list[str] = []
    sent = threading.Event()

    def send(url: str) -> None:
        with requests.Session() as session:
            while True:
                clicked = event("Clicked")
                body = {"profile_id": str(uuid.uuid4()), "email": "ada@example.com", "events": [clicked]}
                try:
                    answer = session.post(batch_url(url), json=body, headers=AGENT, timeout=DEADLINE)
                except requests.RequestException:
                    return
                if answer.ok:
                    answered.append(clicked["message_id"])
                if len(answered) >= 200:
                    sent.set()

    with started(tmp_path / "koala.db") as (process, url):
        senders = [threading.Thread(target=send, args=(url,)) for _ in range(4)]
        for sender in senders:
            sender.start()
        assert sent.wait(60)
        os.kill(process.pid, signal.SIGKILL)
        for sender in senders:
            sender.join()

    connection = sqlite3.connect(tmp_path / "koala.db")
    stored = {json.loads(body)["message_id"] for (body,) in connection.execute("SELECT body FROM entry")}
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert set(answered) <= stored


def test_a_database_has_one_collector(tmp_path: Path) -> None:
    with started(tmp_path / "koala.db"), started(tmp_path / "koala.db") as (second, _):
        assert second.wait(DEADLINE) != 0
        assert second.stderr is not None
        assert "Another collector already writes to" in second.stderr.read()


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    clicked = event("Clicked")
    for _ in range(2):
        with started(tmp_path / "koala.db") as (process, url):
            body = {"profile_id": "p1", "email": "ada@example.com", "events": [clicked]}
            assert requests.post(batch_url(url), json=body, headers=AGENT, timeout=DEADLINE).ok
            entries = requests.get(f"{url}/api/entries", timeout=DEADLINE).json()["entries"]
            assert [entry["email"] for entry in entries] == ["ada@example.com"]
            process.terminate()
            process.wait(DEADLINE)


def test_a_port_in_use_is_said_in_one_sentence(tmp_path: Path) -> None:
    with started(tmp_path / "one.db") as (_, url):
        port = url.rpartition(":")[2]
        with started(tmp_path / "two.db", "--port", port) as (second, _):
            assert second.wait(DEADLINE) == 1
            assert second.stderr is not None
            assert f"Cannot listen on 127.0.0.1:{port}" in second.stderr.read()


@pytest.mark.parametrize(
    ("database", "options", "words"),
    [
        pytest.param(
            "nowhere/koala.db", [], "There is no directory {folder}/nowhere. Make it", id="no directory"
        ),
        pytest.param("", [], "SQLite cannot use {folder}", id="a directory as database"),
        pytest.param("notes.txt", [], "SQLite cannot use {folder}/notes.txt", id="another file as database"),
        pytest.param("koala.db", ["--port", "99999"], "--port is 99999, expected 0 to 65535", id="no port"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_one_sentence(
    tmp_path: Path, database: str, options: list[str], words: str
) -> None:
    (tmp_path / "notes.txt").write_text("These are notes, and no database.\n" * 100)
    with started(tmp_path / database, *options) as (process, _):
        assert process.wait(DEADLINE) == 1
        assert process.stderr is not None
        (said,) = process.stderr.read().splitlines()
        assert words.format(folder=tmp_path) in said


def test_an_invalid_length_keeps_it_from_starting(tmp_path: Path) -> None:
    with started(tmp_path / "koala.db", "--keep", "soon") as (process, _):
        assert process.wait(DEADLINE) == 1
        assert process.stderr is not None
        assert "keep is 'soon', expected a number of hours" in process.stderr.read()


def test_the_command_lines_help_imports_no_extra() -> None:
    """Where the extra is not installed, `--help` still works."""
    code = (
        "import sys\nfrom koala_middleware.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "extras = {'uvicorn', 'jinja2', 'orjson', 'starlette', 'argon2', 'prometheus_client'}\n"
        "print('loaded:', sorted(extras & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "collector" in ran.stdout
    assert "loaded: []" in ran.stdout


def test_probes_answer_without_a_login(tmp_path: Path) -> None:
    with started(tmp_path / "koala.db") as (_, url):
        assert requests.get(f"{url}/healthz", timeout=DEADLINE).json() == {"ok": True}
        requests.post(batch_url(url), json={"email": "ada@example.com"}, headers=AGENT, timeout=DEADLINE)
        until(lambda: 'requests_total{outcome="taken"} 1.0' in requests.get(f"{url}/metrics", timeout=5).text)
        assert "ada@example.com" not in requests.get(f"{url}/metrics", timeout=DEADLINE).text


def test_ingestion_goes_on_while_a_reader_holds_a_snapshot(tmp_path: Path) -> None:
    with started(tmp_path / "koala.db") as (_, url):
        reader = sqlite3.connect(tmp_path / "koala.db")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entry").fetchone()
        began = time.monotonic()
        body = {"profile_id": "p1", "events": [event("Clicked")]}
        assert requests.post(batch_url(url), json=body, headers=AGENT, timeout=DEADLINE).ok
        assert time.monotonic() - began < 5, "writing does not wait for reading"
        reader.close()
