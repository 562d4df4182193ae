"""Who may look, and how people are forgotten: logins, erasure with a receipt, retention."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from pathlib import Path

import pytest
from support.collecting import KEY, Running, Serve, event, listening, until

from koala_middleware.cli import main
from koala_middleware.collector import create_app, login
from koala_middleware.collector.login import add_login
from koala_middleware.collector.retention import expire
from koala_middleware.collector.settings import milliseconds
from koala_middleware.collector.store.sqlite import SqliteStore
from koala_middleware.collector.writer import now_ms

ADA, BOB, SHARED, OWN = "ada@example.com", "bob@example.com", "shared-browser", "adas-own-browser"
SECRET = {"Authorization": "Bearer sk_secret"}


def test_pages_are_open_until_somebody_has_a_login(serve: Serve, tmp_path: Path) -> None:
    assert serve(database=tmp_path / "open.db").get("/people").status_code == 200

    add_login(SqliteStore(tmp_path / "closed.db"), "grace", "hopper")
    collector = serve(database=tmp_path / "closed.db")
    for path in ("/", "/people", "/people/1", "/live/stream", "/health", "/requests/1"):
        turned_away = collector.get(path, allow_redirects=False)
        assert (turned_away.status_code, turned_away.headers["location"]) == (303, "/login")
    assert collector.get("/api/entries").status_code == 401
    assert collector.get("/api/people").status_code == 401
    assert collector.send(profile_id="p1").status_code == 200, "senders need no login"


def test_a_right_password_opens_the_pages(serve: Serve, tmp_path: Path) -> None:
    add_login(SqliteStore(tmp_path / "koala.db"), "grace", "hopper")
    collector = serve()

    assert collector.post("/login", data={"name": "grace", "password": "wrong"}).status_code == 403
    assert collector.post("/login", data={"name": "nobody", "password": "hopper"}).status_code == 403
    opened = collector.post("/login", data={"name": "grace", "password": "hopper"}, allow_redirects=False)
    assert opened.status_code == 303
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert collector.get("/people").status_code == 200

    add_login(SqliteStore(tmp_path / "koala.db"), "grace", "changed")
    assert collector.get("/people", allow_redirects=False).status_code == 303, (
        "a new password ends old sessions"
    )


def test_guessing_passwords_is_slowed_down(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "TRIES", 1e-9)
    monkeypatch.setattr(login, "TRIES_AT_ONCE", 2)
    add_login(SqliteStore(tmp_path / "koala.db"), "grace", "hopper")
    collector = serve()
    statuses = [
        collector.post("/login", data={"name": "grace", "password": "x"}).status_code for _ in range(4)
    ]
    assert statuses[:2] == [403, 403]
    assert 429 in statuses


def test_a_trusted_proxy_may_say_who_is_logged_in(serve: Serve) -> None:
    collector = serve(login_header="X-Forwarded-User")
    assert collector.get("/people", allow_redirects=False).status_code == 303
    assert collector.get("/people", headers={"X-Forwarded-User": "grace"}).status_code == 200


def test_users_are_added_and_removed_from_the_command_line(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hopper\n"))
    database = str(tmp_path / "koala.db")
    assert main(["collector", "user", "add", "grace", "--database", database]) == 0
    collector = serve()
    assert collector.post("/login", data={"name": "grace", "password": "hopper"}).status_code == 200
    assert main(["collector", "user", "remove", "grace", "--database", database]) == 0
    assert main(["collector", "user", "remove", "grace", "--database", database]) == 1


def tell_a_story(collector: Running) -> None:
    """Ada on her own browser and on one that Bob uses, too."""
    collector.send(profile_id=SHARED, email=BOB, events=[event("Bob's", "2026-01-01T10:00:00Z")])
    collector.send(profile_id=SHARED, email=ADA, events=[event("Ada's there", "2026-01-01T11:00:00Z")])
    collector.send(profile_id=SHARED, email=BOB, events=[event("Bob's again", "2026-01-01T12:00:00Z")])
    traits = {"name": "Ada-Augusta Lovelace"}
    collector.send(profile_id=OWN, email=ADA, identifies=[{"traits": traits}], events=[event("Ada's")])
    collector.send(email=ADA, events=[event("Ada's invoice")])


def test_erasing_a_person_deletes_everything_of_theirs_and_nothing_else(serve: Serve, tmp_path: Path) -> None:
    collector = serve(secret_key="sk_secret")
    tell_a_story(collector)

    asked = collector.post("/api/v1/deletion-requests", json={"emails": [" Ada@example.com"]}, headers=SECRET)
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

    asked = collector.post(
        "/api/v1/deletion-requests", json={"emails": []}, headers=SECRET
    )  # waits for the log
    on_disk = b"".join(file.read_bytes() for file in tmp_path.glob("koala.db*"))
    assert b"Ada-Augusta" not in on_disk
    assert OWN.encode() not in on_disk.replace(b'"profiles":["', b"").split(b'"deleted_receipt"')[0]


def test_erasing_needs_the_secret_key(serve: Serve, tmp_path: Path) -> None:
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
    without = serve(database=tmp_path / "other.db")
    assert without.post("/api/v1/deletion-requests", headers=SECRET, **asked).status_code == 404


def test_counts_shrink_with_what_is_erased(serve: Serve) -> None:
    collector = serve(secret_key="sk_secret")
    tell_a_story(collector)
    collector.post("/api/v1/deletion-requests", json={"emails": [ADA, BOB]}, headers=SECRET)
    with collector.app.state.collector.store.reader() as reader:
        assert reader.totals().entries == 0
        assert reader.totals().people == 0


def test_retention_lets_go_of_old_entries_and_of_people_not_seen_since(serve: Serve, tmp_path: Path) -> None:
    collector = serve()
    tell_a_story(collector)
    collector.send(email="new@example.com", events=[event("New")])
    with sqlite3.connect(tmp_path / "koala.db") as connection:
        connection.execute("UPDATE entry SET received_at = 1000 WHERE entry_no <= 3")
        connection.execute("UPDATE person SET last_seen = 1000 WHERE email = ?", (BOB,))
    connection.close()

    gone = asyncio.run(expire(collector.app.state.collector.writer, now_ms() - 1000 * 60 * 60))

    assert gone == 3
    assert [entry["event"] or entry["kind"] for entry in collector.entries()] == [
        "identify",
        "Ada's",
        "Ada's invoice",
        "New",
    ]
    assert sorted(collector.people()) == [ADA, "new@example.com"]


def test_a_collector_told_what_to_keep_lets_go_as_it_starts(serve: Serve, tmp_path: Path) -> None:
    database = tmp_path / "koala.db"
    with listening(create_app(database)) as first:
        first.send(email=ADA, events=[event("Old"), event("New")])
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE entry SET received_at = 1000 WHERE entry_no = 1")
    connection.close()

    collector = serve(keep="30d")

    until(lambda: [entry["event"] for entry in collector.entries()] == ["New"])


@pytest.mark.parametrize(
    ("said", "meant"), [("90d", 90 * 86_400_000), ("1y", 365 * 86_400_000), ("2h", 7_200_000)]
)
def test_lengths_are_written_with_a_unit(said: str, meant: int) -> None:
    assert milliseconds(said) == meant


@pytest.mark.parametrize("said", ["90", "d", "-1d", "0d", "", "90 days"])
def test_lengths_without_one_are_refused(said: str) -> None:
    with pytest.raises(ValueError, match="expected a number of hours"):
        milliseconds(said)


def test_the_key_in_a_path_is_no_way_around_the_login(serve: Serve, tmp_path: Path) -> None:
    add_login(SqliteStore(tmp_path / "koala.db"), "grace", "hopper")
    collector = serve()
    for path in (
        f"/web/projects/{KEY}/../../../people",
        "/static/../people",
        "//people",
        "/web/../api/people",
    ):
        answered = collector.session.get(collector.url + path, timeout=5, allow_redirects=False)
        assert answered.status_code in {303, 307, 401, 404}, path
