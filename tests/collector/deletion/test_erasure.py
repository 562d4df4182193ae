"""Who may look, and how people are forgotten: logins, erasure with a receipt, retention."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.collecting import (
    DEADLINE,
    KEY,
    Database,
    Running,
    Serve,
    event,
    listening,
    on_both_stores,
)
from support.waiting import until

from koala_middleware.collector import create_app
from koala_middleware.collector.deletion import retention
from koala_middleware.collector.deletion.retention import expire
from koala_middleware.collector.recording import writer
from koala_middleware.collector.recording.recorder import record_batches
from koala_middleware.collector.store.postgres import expiry
from koala_middleware.collector.store.rows import BODY_KEPT
from koala_middleware.collector.store.sqlite import expiry as sqlite_expiry
from koala_middleware.collector.store.sqlite import ledger
from koala_middleware.collector.times import now_ms
from koala_middleware.collector.validation.parsing import parse_person_batch

ADA, BOB, SHARED, OWN = "ada@example.com", "bob@example.com", "shared-browser", "adas-own-browser"
SECRET = {"Authorization": "Bearer sk_secret"}


def tell_a_story(collector: Running) -> None:
    """Ada on her own browser and on one that Bob uses, too."""
    collector.send(profile_id=SHARED, email=BOB, events=[event("Bob's", "2026-01-01T10:00:00Z")])
    collector.send(profile_id=SHARED, email=ADA, events=[event("Ada's there", "2026-01-01T11:00:00Z")])
    collector.send(profile_id=SHARED, email=BOB, events=[event("Bob's again", "2026-01-01T12:00:00Z")])
    traits = {"name": "Ada-Augusta Lovelace"}
    collector.send(profile_id=OWN, email=ADA, identifies=[{"traits": traits}], events=[event("Ada's")])
    collector.send(email=ADA, events=[event("Ada's invoice")])


def forget(collector: Running, *emails: str) -> None:
    asked = collector.post("/api/v1/deletion-requests", json={"emails": emails}, headers=SECRET)
    assert asked.status_code == 200


@on_both_stores
def test_erasing_a_person_deletes_everything_of_theirs_and_nothing_else(serve: Serve) -> None:
    collector = serve(secret_key="sk_secret")
    tell_a_story(collector)

    emails = [" Ada@example.com", ADA]
    asked = collector.post("/api/v1/deletion-requests", json={"emails": emails}, headers=SECRET)
    receipt = collector.get(
        f"/api/v1/deletion-requests/{asked.json()['deletion_request_id']}", headers=SECRET
    ).json()

    (gone,) = receipt["deleted_receipt"]
    assert (gone["email"], gone["events"], gone["identifies"], gone["page_views"]) == (ADA, 3, 1, 0)
    assert sorted(gone["profiles"]) == [OWN, SHARED]
    assert receipt["status"] == "completed"
    assert list(collector.people()) == [BOB]
    assert collector.timeline(BOB) == ["Bob's", "Bob's again"]
    collector.send(profile_id=SHARED, events=[event("whoever's", "2026-01-01T11:30:00Z")])
    assert collector.entries()[-1]["email"] is None, "Ada's time on the shared browser is nobody's, not Bob's"
    traits = {"name": "Whoever", "$account": {"plan": "x"}}
    late = {"traits": traits, "sent_at": "2026-01-01T11:31:00Z"}
    assert collector.send(profile_id=SHARED, identifies=[late]).status_code == 200
    named = event("Bob's after all", "2026-01-01T11:29:00Z")
    assert collector.send(profile_id=SHARED, email=BOB, events=[named]).status_code == 200
    assert collector.people()[BOB]["traits"] == {"name": "Whoever"}, "from where he was named on it is his"
    assert "Ada-Augusta" not in str(collector.requests())


@on_both_stores
def test_entries_of_a_shared_browser_while_it_was_nobodys_outlive_its_people(serve: Serve) -> None:
    collector = serve(secret_key="sk_secret")
    collector.send(profile_id=SHARED, email=ADA, events=[event("Ada's", "2026-01-01T10:00:00Z")])
    collector.send(profile_id=SHARED, email=BOB, events=[event("Bob's", "2026-01-01T11:00:00Z")])
    forget(collector, BOB)
    collector.send(profile_id=SHARED, events=[event("Whoever's", "2026-01-01T12:00:00Z")])
    forget(collector, ADA)
    collector.send(profile_id=OWN, email="carol@example.com", events=[event("Carol's")])

    assert [(entry["event"], entry["profile_id"], entry["email"]) for entry in collector.entries()] == [
        ("Whoever's", SHARED, None),
        ("Carol's", OWN, "carol@example.com"),
    ]
    assert "Whoever&#39;s" in collector.get("/").text


def test_an_entry_whose_person_is_gone_is_shown_as_nobodys(collector: Running, database: Path) -> None:
    collector.send(email=ADA, events=[event("Left behind")])
    with closing(sqlite3.connect(database)) as beside:
        beside.execute("DELETE FROM person")
        beside.commit()

    shown = collector.get("/")

    assert shown.status_code == 200
    assert '<span class="clip">nobody</span>' in shown.text


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("koala*.db*"))


def on_disk_in_the_end(collector: Running, folder: Path) -> bytes:
    """Once all is done that was asked for: another deletion waits for the log to be emptied."""
    forget(collector)
    return on_disk(folder)


def test_what_is_erased_from_a_file_is_overwritten(serve: Serve, tmp_path: Path) -> None:
    collector = serve(secret_key="sk_secret")
    tell_a_story(collector)
    forget(collector, ADA)
    left = on_disk_in_the_end(collector, tmp_path)
    assert b"Ada-Augusta" not in left
    assert OWN.encode() not in left.replace(b'"profiles":["', b"").split(b'"deleted_receipt"')[0]


def test_values_replaced_before_an_erasure_are_overwritten_too(serve: Serve, tmp_path: Path) -> None:
    collector = serve(secret_key="sk_secret")
    forget(collector, BOB)  # overwriting does not end with an erasure
    for story in ("Known before as Augusta Byron. " * 500, "Married"):  # the first fills several pages
        collector.send(email=ADA, identifies=[{"traits": {"story": story}}])
    forget(collector, ADA)
    assert b"Augusta Byron" not in on_disk_in_the_end(collector, tmp_path)


def test_a_running_backup_delays_only_the_truncation_of_the_log(
    serve: Serve, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)
    collector = serve(secret_key="sk_secret")
    tell_a_story(collector)
    with closing(sqlite3.connect(database, isolation_level=None)) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM entry").fetchone()
        forget(collector, ADA)
        assert collector.send(email=BOB, events=[event("Meanwhile")]).ok
        assert b"Ada-Augusta" in on_disk(tmp_path)

    until(lambda: b"Ada-Augusta" not in on_disk(tmp_path))


@pytest.mark.parametrize(
    ("email", "spelt"),
    [
        (ADA, '"ADA@example.com"'),
        (ADA, '"\\u0061da\\u0040EXAMPLE.com"'),
        ("ada+news@example.com", '"ada\\u002Bnews@example.com"'),
        ("ada/lovelace@example.com", '"ada\\/lovelace@example.com"'),
        ("zoë@example.com", '"ZOË@example.com"'),
        ("zoë@example.com", '"zo\\u00CB@example.com"'),
        ("ada🐨@example.com", '"ada\\ud83d\\udc28@example.com"'),
    ],
)
@on_both_stores
def test_every_raw_request_that_mentions_an_erased_person_is_deleted_taken_or_not(
    serve: Serve, email: str, spelt: str
) -> None:
    collector = serve(secret_key="sk_secret")
    batch = f"/web/projects/{KEY}/batch"
    named = f'{{"email": {spelt}, "events": [{{"event": "Hers"}}]}}'
    collector.post(batch, data=named.encode())
    collector.post(batch, data=named.encode(), headers={"User-Agent": ""})
    collector.post(batch, data=named.encode()[:-1])
    collector.send(email=BOB, events=[event("Bob's")])
    outcomes = ["taken", "refused", "ignored", "taken"]
    until(lambda: [kept["outcome"] for kept in collector.requests()] == outcomes)

    forget(collector, email)

    assert [BOB in kept["body"] for kept in collector.requests()] == [True]


@on_both_stores
def test_raw_requests_of_a_person_who_was_never_recorded_are_deleted(serve: Serve) -> None:
    collector = serve(secret_key="sk_secret")
    collector.send(email=ADA, events=[{}])
    until(collector.requests)
    forget(collector, ADA)
    assert collector.requests() == []


@on_both_stores
def test_a_truncated_raw_request_is_deleted_with_its_entries(serve: Serve) -> None:
    collector = serve(secret_key="sk_secret")
    long = event("Hers", properties={"note": "x" * BODY_KEPT})
    collector.send(events=[long], email=ADA)
    assert ADA not in collector.requests()[0]["body"]
    forget(collector, ADA)
    assert collector.requests() == []


@on_both_stores
def test_erasing_an_invalid_address_erases_nobody(serve: Serve) -> None:
    collector = serve(secret_key="sk_secret")
    tell_a_story(collector)
    asked = collector.post(
        "/api/v1/deletion-requests",
        json={"emails": ["\0", "%", "", "e", "nobody@example.com"]},
        headers=SECRET,
    )
    assert asked.status_code == 200
    assert sorted(collector.people()) == [ADA, BOB]
    assert len(collector.requests()) == 5


def test_erasing_needs_the_secret_key(serve: Serve, new_database: Callable[[], Database]) -> None:
    collector = serve(secret_key="sk_secret")
    asked = {"json": {"emails": [ADA]}}
    assert collector.post("/api/v1/deletion-requests", **asked).status_code == 401
    assert (
        collector.post(
            "/api/v1/deletion-requests", headers={"Authorization": "Bearer x"}, **asked
        ).status_code
        == 401
    )
    assert collector.get("/api/v1/deletion-requests/x", headers=SECRET).status_code == 404
    without = serve(database=new_database())
    assert without.post("/api/v1/deletion-requests", headers=SECRET, **asked).status_code == 404


@on_both_stores
def test_numbers_of_what_was_erased_are_not_given_again(serve: Serve, database: Database) -> None:
    """Whoever reads on from an entry, or has kept a link to a person or a request, must not meet somebody else."""
    with listening(create_app(database, secret_key="sk_secret")) as before:
        before.send(email=BOB, events=[event("Bob's")])
        before.send(profile_id=OWN, email=ADA, events=[event("Ada's")])
        entry = before.entries()[-1]
        with before.app.state.collector.store.reader() as reader:
            (ada,) = reader.person_by_email(ADA)
        forget(before, ADA)
    collector = serve()
    collector.send(profile_id="carols-browser", email="carol@example.com", events=[event("Carol's")])

    read_on = collector.get(f"/api/entries?after={entry['entry_no']}").json()["entries"]

    assert [each["event"] for each in read_on] == ["Carol's"]
    for place in (f"/people/{ada}", f"/requests/{entry['request_no']}"):
        assert collector.get(place).status_code == 404


@on_both_stores
def test_counts_shrink_with_what_is_erased(serve: Serve) -> None:
    collector = serve(secret_key="sk_secret")
    tell_a_story(collector)
    collector.post("/api/v1/deletion-requests", json={"emails": [ADA, BOB]}, headers=SECRET)
    with collector.app.state.collector.store.reader() as reader:
        totals = reader.totals()
        assert (totals.entries, totals.people, totals.profiles) == (0, 0, 0)


def arrives_in_1970(collector: Running, **body: object) -> None:
    """A batch, the way every batch goes, when the clock stood at the beginning of time."""
    batch = parse_person_batch(KEY, json.dumps(body).encode(), 1000)
    collector.app.state.collector.writer.run(lambda ledger: record_batches(ledger, [(1, batch)])).result(
        DEADLINE
    )


def expire_before_the_last_hour(collector: Running) -> int:
    return asyncio.run(expire(collector.app.state.collector.writer, now_ms() - 1000 * 60 * 60))


@on_both_stores
def test_retention_deletes_old_entries_and_people_not_seen_since(serve: Serve) -> None:
    collector = serve()
    arrives_in_1970(collector, profile_id=SHARED, email=BOB, events=[event("Bob's"), event("Bob's, too")])
    arrives_in_1970(collector, profile_id=OWN, email=ADA, events=[event("Ada's, old")])
    arrives_in_1970(collector, profile_id="a passer-by", events=[event("Nobody's")])
    collector.send(profile_id=OWN, events=[event("Ada's")])
    collector.send(email="new@example.com", events=[event("New")])

    assert expire_before_the_last_hour(collector) == 4

    assert [(entry["event"], entry["email"]) for entry in collector.entries()] == [
        ("Ada's", ADA),
        ("New", "new@example.com"),
    ]
    assert sorted(collector.people()) == [ADA, "new@example.com"]
    collector.send(email=BOB, events=[event("Bob's, much later")])
    assert collector.timeline(BOB) == ["Bob's, much later"]
    with collector.app.state.collector.store.reader() as reader:
        totals = reader.totals()
        assert (totals.entries, totals.people, totals.profiles) == (3, 3, 1)


@on_both_stores
def test_people_stay_as_long_as_one_of_their_entries(serve: Serve) -> None:
    collector = serve()
    collector.send(email=ADA, events=[event("Ada's invoice", "2020-01-01T00:00:00Z")])
    collector.send(profile_id=SHARED, email=BOB, events=[event("Bob's", "2020-01-01T00:00:00Z")])

    expire_before_the_last_hour(collector)
    collector.send(email="new@example.com", events=[event("New")])

    assert [(entry["event"], entry["email"]) for entry in collector.entries()] == [
        ("Ada's invoice", ADA),
        ("Bob's", BOB),
        ("New", "new@example.com"),
    ]
    assert collector.get("/").status_code == 200


@on_both_stores
def test_a_person_who_expires_on_a_shared_browser_leaves_it_to_nobody(serve: Serve) -> None:
    collector = serve()
    arrives_in_1970(collector, profile_id=SHARED, email=ADA, events=[event("Ada's")])
    collector.send(profile_id=SHARED, email=BOB, events=[event("Bob's, before", "1970-01-01T00:00:00.500Z")])

    expire_before_the_last_hour(collector)
    collector.send(profile_id=SHARED, events=[event("Whoever's")])

    assert sorted(collector.people()) == [BOB]
    assert [(entry["event"], entry["email"]) for entry in collector.entries()[-2:]] == [
        ("Bob's, before", BOB),
        ("Whoever's", None),
    ]


@on_both_stores
def test_old_entries_expire_a_few_at_a_time_though_others_among_them_are_gone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite_expiry, expiry, retention):
        monkeypatch.setattr(module, "CHUNK", 5)
    collector = serve(secret_key="sk_secret")
    for number in range(20):
        email = ADA if number == 2 else f"{number}@example.com"
        arrives_in_1970(collector, profile_id=f"browser {number}", email=email, events=[event("x")])
    forget(collector, ADA)

    expire_before_the_last_hour(collector)

    assert collector.entries() == []


@on_both_stores
def test_people_expire_a_few_at_a_time_until_all_are_gone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ledger, expiry):
        monkeypatch.setattr(module, "PEOPLE", 2)
    collector = serve()
    for number in range(5):
        visitor = {"profile_id": f"browser {number}", "email": f"{number}@example.com"}
        arrives_in_1970(collector, **visitor, events=[event("x")])
    collector.send(email="0@example.com", events=[event("y", "1970-01-02T00:00:00Z")])

    expire_before_the_last_hour(collector)

    assert sorted(collector.people()) == ["0@example.com"]
    with collector.app.state.collector.store.reader() as reader:
        assert reader.totals().profiles == 1, "theirs"


@on_both_stores
def test_a_collector_with_keep_deletes_old_entries_when_it_starts(serve: Serve, database: Database) -> None:
    with listening(create_app(database)) as first:
        arrives_in_1970(first, email=ADA, events=[event("Old")])
        first.send(email=ADA, events=[event("New")])

    collector = serve(keep="30d")

    until(lambda: [entry["event"] for entry in collector.entries()] == ["New"])
