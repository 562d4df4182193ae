"""Exports say what is stored, and what was exported as batches makes the same people elsewhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.collecting import Database, Running, Serve, event, on_both_stores

from koala_middleware.cli.main import main
from koala_middleware.collector.access.rate_limits import RateLimit
from koala_middleware.collector.transfer.importing import MAX_WAIT, import_files

pytestmark = on_both_stores
Move = Callable[[], Running]


def tell_a_story(collector: Running) -> None:
    collector.send(
        profile_id="p1", page_views=[{"page": {"path": "/"}, "visit_start": "2026-01-01T10:00:00Z"}]
    )
    identify = {"traits": {"name": "=Ada", "plan": "pro"}, "sent_at": "2026-01-01T10:01:00Z"}
    collector.send(profile_id="p1", email="ada@example.com", identifies=[identify])
    collector.send(profile_id="p1", events=[event("Clicked", "2026-01-01T10:02:00Z", properties={"n": 1})])
    collector.send(email="ada@example.com", events=[event("Paid", "2026-01-01T10:03:00Z")])
    collector.send_account(domain="acme.example", identifies=[{"traits": {"plan": "x"}}])


def export(database: Database, tmp_path: Path, what: str, form: str = "jsonl") -> Path:
    output = tmp_path / f"{what}.{form}"
    arguments = [
        "collector",
        "export",
        what,
        "--format",
        form,
        "--output",
        str(output),
        "--database",
        str(database),
    ]
    assert main(arguments) == 0
    return output


@pytest.fixture
def move(serve: Serve, database: Database, new_database: Callable[[], Database], tmp_path: Path) -> Move:
    """Export what the collector holds as batches, and import it into another one."""

    def moved() -> Running:
        other = serve(database=new_database())
        batches = export(database, tmp_path, "batches")
        assert main(["collector", "import", str(batches), "--to", other.url]) == 0
        return other

    return moved


def test_people_and_events_are_written_as_json_lines(
    collector: Running, database: Database, tmp_path: Path
) -> None:
    tell_a_story(collector)
    (person,) = [json.loads(line) for line in export(database, tmp_path, "people").read_text().splitlines()]
    assert (person["email"], person["profiles"], person["traits"]) == (
        "ada@example.com",
        ["p1"],
        {"name": "=Ada", "plan": "pro"},
    )
    events = [json.loads(line) for line in export(database, tmp_path, "events").read_text().splitlines()]
    assert [(row["kind"], row["email"] or row["account"]) for row in events] == [
        ("page", "ada@example.com"),
        ("identify", "ada@example.com"),
        ("track", "ada@example.com"),
        ("track", "ada@example.com"),
        ("identify", "acme.example"),
    ]


def test_csv_holds_the_same_and_no_formulas(collector: Running, database: Database, tmp_path: Path) -> None:
    tell_a_story(collector)
    collector.send(profile_id="p1", events=[event("=1+1")])
    rows = list(csv.DictReader(export(database, tmp_path, "events", "csv").read_text().splitlines()))
    assert [row["event"] for row in rows] == ["", "", "Clicked", "Paid", "", "'=1+1"]


def test_exported_batches_make_the_same_people_in_another_collector(
    serve: Serve,
    database: Database,
    new_database: Callable[[], Database],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = serve(), serve(database=new_database())
    tell_a_story(first)
    batches = export(database, tmp_path, "batches")

    for _ in range(2):  # coming twice counts once, but for the page view, which had no message_id
        assert main(["collector", "import", str(batches), "--to", second.url]) == 0
    assert "5 batches taken, 0 refused" in capsys.readouterr().err

    assert second.people() == first.people()
    wanted = [(entry["kind"], entry["event"], entry["email"], entry["sent_at"]) for entry in first.entries()]
    assert [(e["kind"], e["event"], e["email"], e["sent_at"]) for e in second.entries()][:5] == wanted


def test_two_people_named_in_one_request_stay_two(collector: Running, move: Move) -> None:
    ada = {"traits": {"email": "ada@example.com", "plan": "pro"}, "sent_at": "2026-01-01T10:00:00Z"}
    bob = {"traits": {"email": "bob@example.com", "plan": "free"}, "sent_at": "2026-01-01T11:00:00Z"}
    collector.send(profile_id="p1", identifies=[ada, bob], events=[event("Paid", "2026-01-01T12:00:00Z")])

    other = move()

    assert collector.timeline("bob@example.com") == ["identify", "Paid"]
    assert other.people() == collector.people()
    assert other.timeline("bob@example.com") == collector.timeline("bob@example.com")


def test_as_many_identifies_as_a_request_may_hold_and_traits_beside_them_arrive(
    collector: Running, move: Move
) -> None:
    identifies = [{"traits": {f"t{n}": n}, "sent_at": f"2026-01-01T10:00:{n:02}Z"} for n in range(30)]
    collector.send(email="ada@example.com", traits={"plan": "pro"}, identifies=identifies)

    other = move()

    assert len(other.entries()) == 31
    assert other.people() == collector.people()


@pytest.mark.parametrize("account_id", ["Acme Inc. (EU)", "Org.7", "www.acme.example", "42"])
def test_an_account_id_stays_as_it_is(collector: Running, move: Move, account_id: str) -> None:
    collector.send_account(account_id=account_id, events=[event("Renewed")])

    other = move()

    assert [entry["account"] for entry in other.entries()] == [account_id]


@pytest.mark.parametrize("stated", [None, "2999-01-01T00:00:00Z"])
def test_what_had_no_time_of_its_own_keeps_that_of_its_arrival(
    collector: Running, move: Move, stated: str | None
) -> None:
    collector.send(profile_id="p1", events=[{"event": "Clicked", "sent_at": stated}])

    other = move()

    assert [entry["sent_at"] for entry in other.entries()] == [
        entry["sent_at"] for entry in collector.entries()
    ]


def test_import_takes_bare_bodies_and_says_what_was_refused(
    collector: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "refused.jsonl"
    body = {"email": "ada@example.com", "events": [event("Late")]}
    lines.write_text(
        "\n".join([json.dumps(body), json.dumps({"key": "pk_x", "body": json.dumps(body)}), "{}", "no"])
    )
    assert main(["collector", "import", str(lines), "--to", collector.url, "--key", "pk_mine"]) == 1
    said = capsys.readouterr().err
    assert "refused.jsonl:3: 400" in said
    assert "2 batches taken, 2 refused" in said
    assert [entry["key"] for entry in collector.entries()] == ["pk_mine", "pk_x"]


def test_import_waits_as_long_as_the_collector_asks_it_to(collector: Running, tmp_path: Path) -> None:
    now = [0.0]
    collector.app.state.collector.address_rate = RateLimit(0.5, burst=2, clock=lambda: now[0])
    lines = tmp_path / "many.jsonl"
    lines.write_text("".join(f'{{"profile_id": "p1", "events": [{{"event": "{n}"}}]}}\n' for n in range(5)))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    assert import_files([lines], collector.url, "pk_mine", pause) == (5, 0)
    assert [entry["event"] for entry in collector.entries()] == ["0", "1", "2", "3", "4"]
    assert pauses == [1.0] * 6, "Retry-After: 1, until each of three has its token"


def test_import_gives_up_on_a_line_after_some_minutes(collector: Running, tmp_path: Path) -> None:
    collector.app.state.collector.address_rate = RateLimit(1.0, burst=0, clock=lambda: 0.0)
    lines = tmp_path / "one.jsonl"
    lines.write_text('{"profile_id": "p1", "events": [{"event": "Late"}]}')
    pauses: list[float] = []

    assert import_files([lines], collector.url, "pk_mine", pauses.append) == (0, 1)
    assert sum(pauses) == MAX_WAIT


def test_import_says_in_one_sentence_what_is_not_there(
    collector: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collector", "import", str(tmp_path / "nowhere"), "--to", collector.url]) == 1
    assert capsys.readouterr().err == f"There is no file {tmp_path / 'nowhere'}.\n"

    lines = tmp_path / "one.jsonl"
    lines.write_text('{"profile_id": "p1"}')
    assert main(["collector", "import", str(lines), "--to", "http://127.0.0.1:1"]) == 1
    assert "No collector answers at http://127.0.0.1:1 (ConnectionError)." in capsys.readouterr().err
