"""Top-level traits, a snapshot of what a browser has cached: only what is new in them is a statement."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from support.collecting import KEY, Database, Running, Serve, event, listening, on_both_stores

from koala_middleware.collector import create_app
from koala_middleware.collector.store.opening import open_store
from koala_middleware.collector.transfer.exporting import export

ADA, LAPTOP = "ada@example.com", "laptop"
CACHED: dict[str, Any] = {"plan": "free", "name": "Ada"}


def pixel(second: int, cached: dict[str, Any], stated: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the closed service's SDK 1.6.2 sends: all cached traits beside an entry, which gives them their time."""
    at = f"2026-01-01T10:00:{second:02}Z"
    said = {"identifies": [{"traits": stated, "sent_at": at}]} if stated else {"events": [event("Seen", at)]}
    return {"profile_id": LAPTOP, "email": ADA, "traits": cached, **said}


def server(second: int, stated: dict[str, Any]) -> dict[str, Any]:
    return {"email": ADA, "identifies": [{"traits": stated, "sent_at": f"2026-01-01T10:00:{second:02}Z"}]}


def traits(collector: Running) -> dict[str, Any]:
    found: dict[str, Any] = collector.people()[ADA]["traits"]
    return found


@on_both_stores
def test_a_cached_trait_does_not_replace_what_a_server_has_stated_since(collector: Running) -> None:
    collector.send(**pixel(1, CACHED))
    collector.send(**server(2, {"plan": "pro"}))
    collector.send(**pixel(3, {**CACHED, "seats": 3}, {"seats": 3}))

    assert traits(collector) == {"plan": "pro", "name": "Ada", "seats": 3}


@on_both_stores
def test_a_trait_that_changed_in_the_cache_is_a_statement(collector: Running) -> None:
    collector.send(**pixel(1, CACHED))
    collector.send(**server(2, {"plan": "pro"}))
    collector.send(**pixel(3, {**CACHED, "plan": "team"}))

    assert traits(collector)["plan"] == "team"


@on_both_stores
def test_snapshots_end_in_the_same_traits_in_any_order_of_arrival(collector: Running) -> None:
    batches = [
        pixel(1, CACHED),
        server(2, {"plan": "pro"}),
        pixel(3, CACHED),
        pixel(4, {**CACHED, "name": "Ada L."}),
    ]
    for number, order in enumerate(itertools.permutations(batches)):
        for batch in order:
            collector.send(key=f"pk_{number}", **batch)

    people = collector.get("/api/people").json()["people"]
    assert [person["traits"] for person in people] == [{"plan": "pro", "name": "Ada L."}] * 24


@on_both_stores
def test_an_anonymous_browsers_snapshots_count_once_it_is_identified(collector: Running) -> None:
    collector.send(profile_id=LAPTOP, traits=CACHED, events=[event("Seen", "2026-01-01T10:00:01Z")])
    collector.send(**server(2, {"plan": "pro"}))
    collector.send(profile_id=LAPTOP, traits=CACHED, events=[event("Seen", "2026-01-01T10:00:03Z")])
    collector.send(profile_id=LAPTOP, email=ADA, events=[event("Signed Up", "2026-01-01T10:00:04Z")])

    assert traits(collector) == {"plan": "pro", "name": "Ada"}


@on_both_stores
def test_a_timeline_leaves_out_snapshots_that_say_nothing_new(collector: Running) -> None:
    collector.send(**pixel(1, {"seats": 1}, {"seats": 1}))
    collector.send(**pixel(2, {"seats": 1, "plan": "pro"}, {"plan": "pro"}))
    for _ in range(2):
        collector.post(
            f"/web/projects/{KEY}/profiles", json={"profile_id": LAPTOP, "email": ADA, "traits": {"seats": 1}}
        )

    assert collector.get("/people/1").text.count('class="entry ') == 2


@on_both_stores
def test_an_exported_snapshot_is_imported_as_one(
    serve: Serve, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    database = new_database()
    collector = serve(database=database)
    for batch in (pixel(1, CACHED), server(2, {"plan": "pro"}), pixel(3, CACHED)):
        collector.send(**batch)
    export(database, "batches", "jsonl", tmp_path / "batches.jsonl")

    copy = serve(database=new_database())
    for line in (tmp_path / "batches.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert copy.post(row["path"], json=row["body"]).ok

    assert traits(copy) == traits(collector)


def test_a_file_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    database = tmp_path / "old.db"
    with closing(open_store(database)) as store:
        store.prepare()
    with closing(sqlite3.connect(database)) as beside:
        beside.executescript(
            "DROP INDEX entry_identify; CREATE INDEX entry_identify ON entry (profile_no, sent_at, message_id) "
            "WHERE profile_no IS NOT NULL AND identifies = 1; PRAGMA user_version = 1"
        )
    with listening(create_app(database)) as collector:
        collector.send(**pixel(1, CACHED))
        collector.send(**server(2, {"plan": "pro"}))
        collector.send(**pixel(3, CACHED))
        assert traits(collector)["plan"] == "pro"
