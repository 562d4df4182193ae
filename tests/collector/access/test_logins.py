"""Who may look at the pages: users, sessions, trusted proxies, names of hosts."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing

import pytest
from support.collecting import KEY, Database, Serve, event, on_both_stores

from koala_middleware.cli.main import main
from koala_middleware.collector.access import logins
from koala_middleware.collector.access.logins import add_login
from koala_middleware.collector.store.opening import open_store


def let_in(database: Database, name: str, password: str) -> None:
    """Give somebody a login, beside whatever collector runs."""
    with closing(open_store(database)) as store:
        add_login(store, name, password)


@on_both_stores
def test_pages_are_open_until_somebody_has_a_login(
    serve: Serve, new_database: Callable[[], Database]
) -> None:
    assert serve().get("/people").status_code == 200

    closed = new_database()
    let_in(closed, "grace", "hopper")
    collector = serve(database=closed)
    for path in ("/", "/people", "/people/1", "/live/stream", "/health", "/requests/1"):
        turned_away = collector.get(path, allow_redirects=False)
        assert (turned_away.status_code, turned_away.headers["location"]) == (303, "/login")
    assert collector.get("/api/entries").status_code == 401
    assert collector.get("/api/people").status_code == 401
    assert collector.send(profile_id="p1").status_code == 200, "senders need no login"


@on_both_stores
def test_a_right_password_opens_the_pages(serve: Serve, database: Database) -> None:
    let_in(database, "grace", "hopper")
    collector = serve()

    assert collector.post("/login", data={"name": "grace", "password": "wrong"}).status_code == 403
    assert collector.post("/login", data={"name": "nobody", "password": "hopper"}).status_code == 403
    opened = collector.post("/login", data={"name": "grace", "password": "hopper"}, allow_redirects=False)
    assert opened.status_code == 303
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert collector.get("/people").status_code == 200

    let_in(database, "grace", "changed")
    assert collector.get("/people", allow_redirects=False).status_code == 303, (
        "a new password ends old sessions"
    )


def test_guessing_passwords_is_slowed_down(
    serve: Serve, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "ATTEMPTS", 1e-9)
    monkeypatch.setattr(logins, "ATTEMPTS_AT_ONCE", 2)
    let_in(database, "grace", "hopper")
    collector = serve()
    statuses = [
        collector.post("/login", data={"name": "grace", "password": "x"}).status_code for _ in range(4)
    ]
    assert statuses[:2] == [403, 403]
    assert 429 in statuses


def test_a_trusted_proxy_may_say_who_is_logged_in(serve: Serve) -> None:
    collector = serve(login_header="X-Forwarded-User", trusted_proxies=["127.0.0.1"])
    assert collector.get("/people", allow_redirects=False).status_code == 303
    assert collector.get("/people", headers={"X-Forwarded-User": "grace"}).status_code == 200


@on_both_stores
def test_users_are_added_and_removed_from_the_command_line(
    serve: Serve, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hopper\n"))
    where = str(database)
    assert main(["collector", "user", "add", "grace", "--database", where]) == 0
    collector = serve()
    assert collector.post("/login", data={"name": "grace", "password": "hopper"}).status_code == 200
    assert main(["collector", "user", "remove", "grace", "--database", where]) == 0
    assert main(["collector", "user", "remove", "grace", "--database", where]) == 1


@on_both_stores
def test_a_session_ends_on_the_server_when_its_user_logs_out(serve: Serve, database: Database) -> None:
    let_in(database, "grace", "hopper")
    collector = serve()
    cookies = []
    for _ in range(2):
        answered = collector.post(
            "/login", data={"name": "grace", "password": "hopper"}, allow_redirects=False
        )
        cookies.append({"Cookie": f"{logins.COOKIE}={answered.cookies[logins.COOKIE]}"})
    collector.session.cookies.clear()

    collector.post("/logout", headers=cookies[0], allow_redirects=False)

    assert [
        collector.get("/people", headers=each, allow_redirects=False).status_code for each in cookies
    ] == [
        303,
        200,
    ], "a copy of the cookie is refused, another session of the same user is not"


@on_both_stores
def test_pages_stay_closed_when_the_last_user_is_removed(serve: Serve, database: Database) -> None:
    let_in(database, "grace", "hopper")
    with closing(open_store(database)) as store:
        assert store.delete_login("grace")

    assert serve().get("/people", allow_redirects=False).status_code == 303


def test_a_collector_without_login_is_open_though_there_is_a_user(serve: Serve, database: Database) -> None:
    let_in(database, "grace", "hopper")
    assert serve(login=False).get("/people", allow_redirects=False).status_code == 200


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_forms_of_other_sites_are_refused(serve: Serve, database: Database, path: str, origin: str) -> None:
    let_in(database, "grace", "hopper")
    collector = serve()
    form = {"name": "grace", "password": "hopper"}
    collector.post("/login", data=form)
    assert collector.post(path, data=form, headers={"Origin": origin}).status_code == 403
    own = collector.post(path, data=form, headers={"Origin": collector.url}, allow_redirects=False)
    assert own.status_code == 303


def test_a_login_header_is_believed_from_a_trusted_proxy_only(serve: Serve) -> None:
    elsewhere = serve(login_header="X-Forwarded-User", trusted_proxies=["10.0.0.0/8"])
    named = {"X-Forwarded-User": "grace"}
    assert elsewhere.get("/people", headers=named, allow_redirects=False).status_code == 303


def test_pages_answer_only_under_their_own_names(serve: Serve) -> None:
    collector = serve(allowed_hosts=["collector.example.com", "*.internal"])
    for host in ("evil.example", "collector.example.com.evil.example"):
        assert collector.get("/people", headers={"Host": host}).status_code == 421
        assert collector.get("/login", headers={"Host": host}).status_code == 421
        assert collector.get("/api/entries", headers={"Host": host}).status_code == 421
    for host in ("collector.example.com:443", "a.internal", "127.0.0.1:8600", "[::1]:8600"):
        assert collector.get("/people", headers={"Host": host}).status_code == 200
    sent = collector.post(
        "/web/projects/pk/batch", json={"profile_id": "p1", "events": [event("x")]}, headers={"Host": "other"}
    )
    assert sent.status_code == 200, "senders may use any name"


def test_a_rate_behind_a_trusted_proxy_is_the_visitors_own(serve: Serve) -> None:
    collector = serve(address_rate=0.1)

    def send(forwarded: str) -> int:
        body = {"profile_id": "p1", "events": [event("x")]}
        headers = {"X-Forwarded-For": forwarded}
        return collector.post("/web/projects/pk/batch", json=body, headers=headers).status_code

    assert send("203.0.113.9, 127.0.0.1") == 200
    assert send("203.0.113.9:51008, 127.0.0.1") == 429
    assert send("198.51.100.7, 203.0.113.9") == 429, "what a visitor writes into the header does not count"
    assert send("[2001:db8::1]:443") == 200


def test_the_key_in_a_path_is_no_way_around_the_login(serve: Serve, database: Database) -> None:
    let_in(database, "grace", "hopper")
    collector = serve()
    for path in (
        f"/web/projects/{KEY}/../../../people",
        "/static/../people",
        "//people",
        "/web/../api/people",
    ):
        answered = collector.session.get(collector.url + path, timeout=5, allow_redirects=False)
        assert answered.status_code in {303, 307, 401, 404}, path
