"""`koala-middleware outbox`, as an operator uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from koala_middleware.cli.main import main
from koala_middleware.delivery import Delivery
from koala_middleware.protocol.batches import Batch

Deliver = Callable[..., Delivery]
MakeBatch = Callable[..., Batch]
Output = pytest.CaptureFixture[str]


def test_status_counts_waiting_and_refused_entries(outbox: Path, capsys: Output) -> None:
    assert main(["outbox", "status", "--outbox", str(outbox)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("pk_test: 3 waiting, the oldest for ")
    assert "2 refused" in output
    assert "0 files in use" in output


def test_the_outbox_can_come_from_the_environment(
    outbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("KOALA_OUTBOX", f"{outbox}\n")
    assert main(["outbox", "status"]) == 0
    assert capsys.readouterr().out.startswith("pk_test: 3 waiting")


def test_status_counts_the_files_of_living_processes(
    outbox: Path, deliver: Deliver, batch: MakeBatch, capsys: Output
) -> None:
    deliver(outbox, flush_interval=6000).put(batch("ada", "1"))
    main(["outbox", "status", "--outbox", str(outbox)])
    assert "0 files in use" not in capsys.readouterr().out


def test_status_skips_a_file_that_is_delivered_and_deleted_meanwhile(outbox: Path, capsys: Output) -> None:
    directory = next(path for path in outbox.iterdir() if path.is_dir())
    (directory / "listed-and-gone").symlink_to(directory / "gone")
    assert main(["outbox", "status", "--outbox", str(outbox)]) == 0
    assert "3 waiting" in capsys.readouterr().out


def test_status_of_an_empty_outbox_says_so(tmp_path: Path, capsys: Output) -> None:
    assert main(["outbox", "status", "--outbox", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "The outbox is empty.\n"


def test_list_prints_subject_event_and_reason(outbox: Path, capsys: Output) -> None:
    main(["outbox", "list", "--outbox", str(outbox)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "ada  E  r1  (HTTP 400 event is missing)" in lines[0]


def test_export_prints_json_lines(outbox: Path, capsys: Output) -> None:
    main(["outbox", "export", "--which", "waiting", "--outbox", str(outbox)])
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["entry"]["message_id"] for entry in entries] == ["w1", "w2", "w3"]
    assert {entry["profile_id"] for entry in entries} == {"grace"}


def test_retry_lets_refused_entries_wait_again(outbox: Path, capsys: Output) -> None:
    assert main(["outbox", "retry", "--outbox", str(outbox)]) == 0
    assert capsys.readouterr().out.startswith("2 entries wait again, for the app or: ")
    assert main(["outbox", "retry", "--outbox", str(outbox)]) == 0
    assert capsys.readouterr().out == "No entries were refused.\n"
    main(["outbox", "status", "--outbox", str(outbox)])
    assert "5 waiting" in capsys.readouterr().out


def test_drop_deletes_only_the_chosen_entries_and_only_when_confirmed(outbox: Path, capsys: Output) -> None:
    with pytest.raises(SystemExit, match="--yes"):
        main(["outbox", "drop", "--outbox", str(outbox)])
    main(["outbox", "drop", "--yes", "--outbox", str(outbox)])
    assert capsys.readouterr().out == "2 entries deleted.\n"
    main(["outbox", "status", "--outbox", str(outbox)])
    output = capsys.readouterr().out
    assert "3 waiting" in output
    assert "0 refused" in output


def test_a_missing_outbox_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOALA_OUTBOX", raising=False)
    with pytest.raises(SystemExit, match="KOALA_OUTBOX"):
        main(["outbox", "status"])
    with pytest.raises(SystemExit, match=r"There is no directory .*nowhere"):
        main(["outbox", "status", "--outbox", str(tmp_path / "nowhere")])


@pytest.mark.parametrize("action", ["status", "list", "export", "retry"])
@pytest.mark.parametrize("depth", [0, 1], ids=["the outbox", "a key's folder"])
def test_another_user_is_told_whose_the_outbox_is(
    outbox: Path, action: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files cannot be listed, so that it would look empty."""
    denied = outbox if depth == 0 else next(path for path in outbox.iterdir() if path.is_dir())
    monkeypatch.setattr(os, "access", lambda path, _: path != denied)
    with pytest.raises(
        SystemExit, match=rf"must not read or change .*Run the command as user {denied.owner()}\.$"
    ):
        main(["outbox", action, "--outbox", str(outbox)])


def test_a_reader_that_ends_early_causes_no_traceback(outbox: Path) -> None:
    finished = subprocess.run(
        f"{sys.executable} -m koala_middleware.cli outbox export --which waiting --outbox {outbox} | true",
        shell=True,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.stderr == ""
