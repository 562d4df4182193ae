"""`koala-middleware outbox` and `relay`, as an operator uses them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koala_middleware.cli.main import main
from koala_middleware.delivery import Delivery
from koala_middleware.errors import KoalaConfigError
from koala_middleware.protocol.batches import Batch

Deliver = Callable[..., Delivery]
MakeBatch = Callable[..., Batch]
Eventually = Callable[..., None]
Endpoint = Any  # conftest.py's; reaches tests as a fixture
Said = pytest.CaptureFixture[str]


@pytest.fixture
def outbox(tmp_path: Path, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch) -> Path:
    """One that holds two refused entries and three that wait, of processes that have ended."""
    directory = tmp_path / "outbox"
    delivery = deliver(outbox=directory)
    endpoint.answer(400, {"error": "event is missing"})
    delivery.put(batch("ada", "r1", "r2"))
    assert delivery.flush(10).complete
    assert delivery.stats().refused == 2
    endpoint.answer(503, Retry_After="100")
    delivery.put(batch("grace", "w1", "w2", "w3"))
    assert delivery.close(0.3).waiting == 3
    endpoint.posts.clear()
    endpoint.answer(200)
    return directory


def test_status_counts_what_is_there(outbox: Path, capsys: Said) -> None:
    assert main(["outbox", "status", "--outbox", str(outbox)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("pk_test: 3 wait")
    assert "2 refused" in said
    assert "0 files in use" in said


def test_the_environments_outbox_is_read_as_the_app_reads_it(
    outbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setenv("KOALA_OUTBOX", f"{outbox}\n")
    assert main(["outbox", "status"]) == 0
    assert capsys.readouterr().out.startswith("pk_test: 3 wait")


def test_status_sees_who_is_alive(outbox: Path, deliver: Deliver, batch: MakeBatch, capsys: Said) -> None:
    living = deliver(outbox=outbox, flush_interval=6000)
    living.put(batch("ada", 1))
    main(["outbox", "status", "--outbox", str(outbox)])
    assert "0 files in use" not in capsys.readouterr().out


def test_status_passes_over_what_is_delivered_and_deleted_while_it_looks(outbox: Path, capsys: Said) -> None:
    directory = next(path for path in outbox.iterdir() if path.is_dir())
    (directory / "listed-and-gone").symlink_to(directory / "gone")
    assert main(["outbox", "status", "--outbox", str(outbox)]) == 0
    assert "3 wait" in capsys.readouterr().out


def test_list_shows_whom_what_and_why(outbox: Path, capsys: Said) -> None:
    main(["outbox", "list", "--outbox", str(outbox)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "ada  E  r1  (HTTP 400 event is missing)" in lines[0]


def test_export_writes_json_lines(outbox: Path, capsys: Said) -> None:
    main(["outbox", "export", "--which", "waiting", "--outbox", str(outbox)])
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["entry"]["message_id"] for entry in entries] == ["w1", "w2", "w3"]
    assert {entry["profile_id"] for entry in entries} == {"grace"}


def test_refused_entries_can_be_sent_to_another_endpoint(
    outbox: Path, endpoint: Endpoint, capsys: Said
) -> None:
    assert main(["outbox", "retry", "--outbox", str(outbox)]) == 0
    assert capsys.readouterr().out.startswith("2 entries wait again")
    relay(outbox, endpoint.url, "--once")
    assert sorted(endpoint.taken) == ["r1", "r2", "w1", "w2", "w3"]
    main(["outbox", "status", "--outbox", str(outbox)])
    assert "0 wait; 0 refused" in capsys.readouterr().out


def test_drop_deletes_only_what_is_meant(outbox: Path, capsys: Said) -> None:
    with pytest.raises(SystemExit, match="--yes"):
        main(["outbox", "drop", "--outbox", str(outbox)])
    main(["outbox", "drop", "--yes", "--outbox", str(outbox)])
    main(["outbox", "status", "--outbox", str(outbox)])
    assert "3 wait" in (said := capsys.readouterr().out)
    assert "0 refused" in said


def test_an_outbox_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOALA_OUTBOX", raising=False)
    with pytest.raises(SystemExit, match="KOALA_OUTBOX"):
        main(["outbox", "status"])
    with pytest.raises(SystemExit, match="is no directory"):
        main(["outbox", "status", "--outbox", str(tmp_path / "nowhere")])


def test_handing_over_to_a_relay_needs_an_outbox(deliver: Deliver) -> None:
    with pytest.raises(KoalaConfigError, match="outbox is missing"):
        deliver(delivery="relay")


def test_a_relay_delivers_what_living_workers_hand_over_until_it_is_told_to_end(
    tmp_path: Path, endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    worker = deliver(outbox=tmp_path / "outbox", delivery="relay")
    worker.put(batch("ada", 1))
    running = start_relay(tmp_path / "outbox", endpoint.url)
    try:
        assert endpoint.wait_for(lambda: endpoint.taken == ["1"])
        worker.put(batch("ada", 2))
        worker.put(batch("grace", 3))
        assert endpoint.wait_for(lambda: sorted(endpoint.taken) == ["1", "2", "3"])
    finally:
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=20)
    assert (running.returncode, err) == (0, "")


def start_relay(outbox: Path, endpoint: str, *more: str) -> subprocess.Popen[str]:
    options = ["--outbox", str(outbox), "--endpoint", endpoint, "--key", "pk_test", *more]
    command = [
        sys.executable,
        "-c",
        "from koala_middleware.cli.main import main; raise SystemExit(main())",
        "relay",
    ]
    return subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KOALA_FLUSH_INTERVAL": "0"},
    )


def relay(outbox: Path, endpoint: str, *more: str) -> None:
    running = start_relay(outbox, endpoint, *more)
    _, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (0, "")
