"""What all subcommands have in common."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from koala_middleware.cli import outbox
from koala_middleware.cli.main import main


def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(outbox, "_status", interrupted)
    assert main(["outbox", "status", "--outbox", str(tmp_path)]) == 130


def test_ctrl_c_ends_the_collector_without_a_traceback(tmp_path: Path) -> None:
    options = ["--port", "0", "--database", str(tmp_path / "koala.db")]
    collector = subprocess.Popen(
        [sys.executable, "-m", "koala_middleware.cli", "collector", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert collector.stdout is not None
    assert collector.stdout.readline().startswith("Collector: ")
    collector.send_signal(signal.SIGINT)
    _, errors = collector.communicate(timeout=30)
    assert "Traceback" not in errors


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    output = capsys.readouterr().out
    for command in ("collector", "outbox", "relay", "erase"):
        assert f"\n    {command}" in output
