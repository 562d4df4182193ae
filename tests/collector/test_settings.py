"""Settings that are refused in one sentence when the collector starts, and where secrets may stand."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import requests
from support.collecting import DEADLINE, event
from support.collector_process import AGENT, batch_url, started

from koala_middleware.cli.main import main
from koala_middleware.collector import create_app
from koala_middleware.collector.settings import milliseconds


@pytest.mark.parametrize(
    ("said", "meant"), [("90d", 90 * 86_400_000), ("1y", 365 * 86_400_000), ("2h", 7_200_000)]
)
def test_lengths_are_written_with_a_unit(said: str, meant: int) -> None:
    assert milliseconds(said) == meant


@pytest.mark.parametrize("said", ["90", "d", "-1d", "0d", "", "90 days"])
def test_lengths_without_one_are_refused(said: str) -> None:
    with pytest.raises(ValueError, match="expected a number of hours"):
        milliseconds(said)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"secret_key": ""}, "secret_key is not one"),
        ({"secret_key": "pk_1a2b3c4d"}, "secret_key is not one"),
        ({"address_rate": -1.0}, "address_rate is -1.0, expected a number of requests a second above 0"),
        ({"address_rate": 0}, "address_rate is 0, expected"),
        ({"key_rate": float("nan")}, "key_rate is nan, expected"),
        ({"origins": ["www.example.com"]}, "origins holds 'www.example.com', expected scheme and host"),
        ({"origins": ["https://www.example.com/"]}, "without a path or a slash at the end"),
        ({"keys": [""]}, "keys holds '', expected keys like"),
        ({"keys": ["sk_1a2b3c4d"]}, "keys holds a secret key, expected public ones"),
        ({"database": ":memory:"}, "database is ':memory:', expected a file's name"),
        ({"login_header": "X-User"}, "login_header needs trusted_proxies"),
        ({"trusted_proxies": ["proxy"]}, "trusted_proxies holds 'proxy', expected IP addresses or networks"),
        ({"allowed_hosts": ["https://a.example"]}, "allowed_hosts holds 'https://a.example', expected names"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_invalid_setting_is_refused_when_the_collector_is_made(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        create_app(**{"database": tmp_path / "koala.db", **settings})
    assert words in str(refused.value)
    assert "1a2b3c4d" not in str(refused.value), "no secret is shown"


@pytest.mark.parametrize(
    "options",
    [
        ["--secret-key", ""],
        ["--address-rate", "-1"],
        ["--origin", "www.example.com"],
        ["--key", ""],
        ["--database", ":memory:"],
    ],
    ids=lambda options: options[0],
)
def test_the_command_says_an_invalid_setting_in_one_sentence(tmp_path: Path, options: list[str]) -> None:
    with started(tmp_path / "koala.db", *options) as (process, _):
        assert process.wait(DEADLINE) == 1
        assert process.stderr is not None
        (line,) = process.stderr.read().splitlines()
        assert "expected" in line


def test_secrets_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("sk_from_a_file\n")
    monkeypatch.setenv("KOALA_COLLECTOR_KEYS", "pk_one, pk_two")
    with started(tmp_path / "koala.db", "--secret-key-file", str(tmp_path / "secret")) as (_, url):
        asked = f"{url}/api/v1/deletion-requests"
        bearer = {"Authorization": "Bearer sk_from_a_file"}
        assert requests.post(asked, json={"emails": []}, headers=bearer, timeout=DEADLINE).ok
        assert requests.get(f"{url}/web/projects/pk_two/auth", timeout=DEADLINE).ok
        assert requests.get(f"{url}/web/projects/pk_three/auth", timeout=DEADLINE).status_code == 401


def test_the_database_and_exports_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with started(tmp_path / "koala.db") as (_, url):
            body = {"profile_id": "p1", "events": [event("x")]}
            assert requests.post(batch_url(url), json=body, headers=AGENT, timeout=DEADLINE).ok
            output = ["--output", str(tmp_path / "events.jsonl")]
            assert (
                main(["collector", "export", "events", "--database", str(tmp_path / "koala.db"), *output])
                == 0
            )
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert {"koala.db", "koala.db-wal", "events.jsonl"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_beyond_this_machine_it_starts_only_with_a_user_or_without_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "koala.db"
    everywhere = ("--host", "0.0.0.0")
    with started(database, *everywhere) as (process, _):
        assert process.wait(DEADLINE) == 1
        assert process.stderr is not None
        assert "Add a user first" in process.stderr.read()
    with started(database, *everywhere, "--no-login") as (_, url):
        assert requests.get(f"{url}/people", timeout=DEADLINE).ok
    monkeypatch.setattr("sys.stdin", io.StringIO("hopper\n"))
    assert main(["collector", "user", "add", "grace", "--database", str(database)]) == 0
    with started(database, *everywhere) as (_, url):
        assert requests.get(f"{url}/people", timeout=DEADLINE, allow_redirects=False).status_code == 303
