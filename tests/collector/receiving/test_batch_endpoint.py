"""What the collector takes, what it refuses, and in which words."""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from support.collecting import KEY, Running, Serve, event, on_both_stores
from support.waiting import until

from koala_middleware.protocol.limits import DATA_DEPTH

BATCH = f"/web/projects/{KEY}/batch"
PROFILE = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"leaf": 1}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_a_batch_is_stored_with_everything_in_it(collector: Running) -> None:
    answered = collector.send(
        profile_id=PROFILE,
        email="Ada@Example.com",
        identifies=[{"type": "identify", "sent_at": "2026-01-01T10:00:01.000Z", "traits": {"plan": "pro"}}],
        events=[
            event(
                "Signed Up", "2026-01-01T10:00:02.000Z", properties={"method": "email"}, odd=[1, {"a": None}]
            )
        ],
        page_views=[{"message_id": "p1", "page": {"path": "/"}, "visit_start": "2026-01-01T10:00:00.000Z"}],
    )

    assert (answered.status_code, answered.json()) == (200, {"ok": True})
    stored = collector.entries()
    assert [(entry["kind"], entry["event"], entry["email"], entry["sent_at"]) for entry in stored] == [
        ("identify", None, "ada@example.com", "2026-01-01T10:00:01.000Z"),
        ("track", "Signed Up", "ada@example.com", "2026-01-01T10:00:02.000Z"),
        ("page", None, "ada@example.com", "2026-01-01T10:00:00.000Z"),
    ]
    assert stored[1]["body"]["odd"] == [1, {"a": None}], "unknown fields are kept"


def test_a_beacon_sends_json_as_text(collector: Running) -> None:
    body = json.dumps({"profile_id": PROFILE, "events": [event("Clicked")]})
    answered = collector.post(BATCH, data=body, headers={"Content-Type": "text/plain;charset=UTF-8"})
    assert answered.status_code == 200
    assert len(collector.entries()) == 1


@pytest.mark.parametrize(
    ("escaped", "stored"),
    [
        pytest.param(r"cut \ud83d", "cut \ufffd", id="half of an emoji"),
        pytest.param(r"\uDE00 cut", "\ufffd cut", id="its other half"),
        pytest.param(r"\ude00\ud83d", "\ufffd\ufffd", id="both, the wrong way round"),
        pytest.param(r"\ud83d\ude00 \ud83d", "\U0001f600 \ufffd", id="after a whole one"),
        pytest.param(r"\\ud83d \ud83d", "\\ud83d \ufffd", id="after a backslash"),
    ],
)
def test_a_text_cut_within_an_emoji_spoils_nothing_beside_it(
    collector: Running, escaped: str, stored: str
) -> None:
    body = rf'{{"profile_id":"p1","events":[{{"event":"E","properties":{{"{escaped}":["{escaped}"]}}}}]}}'
    assert collector.post(BATCH, data=body).status_code == 200
    assert collector.entries()[0]["body"]["properties"] == {stored: [stored]}


@pytest.mark.parametrize("value", [r'"\ud83d', r'"\ud8"', r'"\ud83d",NaN', r'"\ud83d","\x'])
def test_a_cut_text_excuses_nothing_else_that_is_wrong(collector: Running, value: str) -> None:
    answered = collector.post(BATCH, data=rf'{{"profile_id":"p1","a":[{value}]}}')
    assert (answered.status_code, answered.json()["code"]) == (400, "not_json")


def test_a_body_may_be_gzipped(collector: Running) -> None:
    body = gzip.compress(json.dumps({"profile_id": PROFILE, "events": [event("Clicked")]}).encode())
    assert collector.post(BATCH, data=body, headers={"Content-Encoding": "gzip"}).status_code == 200
    assert len(collector.entries()) == 1


def test_a_gzipped_body_may_have_several_members(collector: Running) -> None:
    body = json.dumps({"profile_id": PROFILE, "events": [event("Clicked")]}).encode()
    members = gzip.compress(body[:20]) + gzip.compress(b"") + gzip.compress(body[20:])
    assert collector.post(BATCH, data=members, headers={"Content-Encoding": "gzip"}).status_code == 200
    assert len(collector.entries()) == 1


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        pytest.param(gzip.compress(b"  ")[:-1], 400, "bad_gzip", id="one that is cut off"),
        pytest.param(b"\0", 400, "bad_gzip", id="something else"),
        pytest.param(gzip.compress(b" " * 700_000) * 2, 413, "too_large", id="more than a body may hold"),
        pytest.param(gzip.compress(b"") * 1_000, 400, "bad_gzip", id="a thousand"),
    ],
)
def test_all_gzip_members_together_are_limited_like_one_body(
    collector: Running, more: bytes, status: int, code: str
) -> None:
    body = gzip.compress(json.dumps({"profile_id": PROFILE}).encode()) + more
    answered = collector.post(BATCH, data=body, headers={"Content-Encoding": "gzip"})
    assert (answered.status_code, answered.json()["code"]) == (status, code)


def test_a_small_gzip_that_unpacks_to_a_flood_is_refused(collector: Running) -> None:
    answered = collector.post(
        BATCH, data=gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"}
    )
    assert (answered.status_code, answered.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param({}, 400, "profile_id or email is required", id="nobody"),
        pytest.param({"email": "not an address"}, 400, "email is not an address", id="no address"),
        pytest.param(
            {"profile_id": 7}, 400, "profile_id must be text, not a number", id="profile_id a number"
        ),
        pytest.param({"profile_id": "undefined"}, 400, "would make all such visitors one", id="undefined"),
        pytest.param(
            {"profile_id": "x", "events": {}}, 400, "events must be an array, not an object", id="no array"
        ),
        pytest.param({"profile_id": "x", "events": [{}]}, 400, "events[0].event is missing", id="no name"),
        pytest.param(
            {"profile_id": "x", "events": ["x"]}, 400, "events[0] must be an object", id="no object"
        ),
        pytest.param(
            {"profile_id": "x", "identifies": [{"traits": []}]},
            400,
            "identifies[0].traits must be an object",
            id="traits",
        ),
        pytest.param(
            {"profile_id": "x", "events": [event("a")] * 31}, 400, "at most 30 of each kind", id="31 events"
        ),
        pytest.param([1], 400, "must be a JSON object, not an array", id="an array"),
        pytest.param({"profile_id": "x", "y": "z" * 1_100_000}, 413, "larger than 1024 KiB", id="too large"),
    ],
)
def test_a_refusal_names_what_is_wrong_and_nothing_is_stored(
    collector: Running, body: Any, status: int, words: str
) -> None:
    answered = collector.post(BATCH, json=body)

    assert answered.status_code == status
    assert words in answered.json()["error"]
    assert collector.entries() == []
    until(lambda: [kept["outcome"] for kept in collector.requests()] == ["refused"])


def test_one_bad_entry_refuses_the_whole_batch(collector: Running) -> None:
    assert collector.send(profile_id=PROFILE, events=[event("good"), {"event": ""}]).status_code == 400
    assert collector.entries() == []


@pytest.mark.parametrize("depth", [33, 2_000, 100_000])
def test_deep_nesting_is_refused(collector: Running, depth: int) -> None:
    body = '{"profile_id": "x", "a": ' + "[" * depth + "]" * depth + "}"
    answered = collector.post(BATCH, data=body)
    assert answered.status_code == 400
    assert answered.json()["code"] in {"too_deep", "not_json"}


def test_a_request_without_user_agent_is_answered_shown_and_not_counted(collector: Running) -> None:
    body = json.dumps({"profile_id": PROFILE, "events": [event("Clicked")]})
    with closing(HTTPConnection(collector.url.removeprefix("http://"), timeout=5)) as connection:
        connection.request("POST", BATCH, body)  # http.client sends no User-Agent of its own
        answered = connection.getresponse()
        assert (answered.status, answered.read()) == (200, b'{"ok":true}')
    until(lambda: [kept["outcome"] for kept in collector.requests()] == ["ignored"])
    assert collector.entries() == []


def test_a_message_is_captured_once_however_often_it_comes(collector: Running) -> None:
    again = event("Clicked")
    identify = {"traits": {"plan": "pro"}, "sent_at": "2026-01-01T00:00:00Z"}
    for _ in range(3):
        collector.send(profile_id=PROFILE, events=[again, again], identifies=[identify])
    assert [entry["kind"] for entry in collector.entries()] == ["identify", "track"]


def test_a_time_far_ahead_is_not_believed(collector: Running) -> None:
    collector.send(profile_id=PROFILE, email="a@b.example", identifies=[{"sent_at": "2999-01-01T00:00:00Z"}])
    (entry,) = collector.entries()
    assert entry["sent_at"] == entry["received_at"]
    assert "not plausible" in collector.requests()[0]["notes"]


def test_only_listed_keys_are_taken(serve: Serve) -> None:
    collector = serve(keys=[KEY])
    assert collector.send(profile_id=PROFILE).status_code == 200
    assert collector.send(key="pk_other", profile_id=PROFILE).status_code == 403
    assert collector.get(f"/web/projects/{KEY}/auth").status_code == 200
    assert collector.get("/web/projects/pk_other/auth").status_code == 401
    assert collector.get("/web/projects/pk_other").status_code == 403


@pytest.mark.parametrize("key", ["%00", "x" * 201, "%0a"])
def test_a_malformed_key_is_refused_even_where_any_key_is_taken(collector: Running, key: str) -> None:
    assert collector.send(key=key, profile_id=PROFILE).status_code == 403


def test_the_bootstrap_echoes_a_profile_or_mints_one(collector: Running) -> None:
    echoed = collector.get(f"/web/projects/{KEY}", params={"profile_id": PROFILE}).json()
    assert echoed["profile_id"] == PROFILE
    assert echoed["widget_settings"] == {"enabled": False}
    minted = collector.get(f"/web/projects/{KEY}").json()["profile_id"]
    assert len(minted) == 36
    assert minted != PROFILE


@pytest.mark.parametrize("nobody", ["", "undefined", "null", "[object Object]", " ", "a\nb", "x" * 501])
def test_the_bootstrap_echoes_nothing_that_a_batch_may_not_carry(collector: Running, nobody: str) -> None:
    minted = collector.get(f"/web/projects/{KEY}", params={"profile_id": nobody}).json()["profile_id"]
    assert collector.send(profile_id=minted, events=[event("Clicked")]).status_code == 200
    assert str(uuid.UUID(minted)) == minted


def test_profiles_records_who_the_visitor_is(collector: Running) -> None:
    body = {"profile_id": PROFILE, "email": "ada@example.com", "traits": {"plan": "pro"}}
    answered = collector.post(f"/web/projects/{KEY}/profiles", json=body)
    assert answered.json() == {"profile_id": PROFILE, "q": None, "a": {}}
    assert collector.people()["ada@example.com"]["traits"] == {"plan": "pro"}


def test_profiles_refuses_who_names_nobody(collector: Running) -> None:
    for body in ({}, {"email": "not an address"}):
        assert collector.post(f"/web/projects/{KEY}/profiles", json=body).status_code == 400
    assert collector.entries() == []


def test_the_scripts_telemetry_is_taken_and_dropped(collector: Running) -> None:
    body = {"profile_id": PROFILE, "metrics": [{"name": "x"}]}
    assert collector.post(f"/web/projects/{KEY}/metrics", json=body).status_code == 200
    assert collector.entries() == []


def test_the_browser_script_is_served(collector: Running) -> None:
    answered = collector.get(f"/v1/{KEY}/sdk.js")
    assert answered.status_code == 200
    assert answered.headers["content-type"].startswith("text/javascript")


def test_scripts_of_any_site_may_send_but_not_read_pages(collector: Running) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "content-type"
    preflight = collector.session.options(collector.url + BATCH, headers=asked, timeout=5)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example"

    origin = {"Origin": "https://shop.example"}
    assert (
        "access-control-allow-origin"
        in collector.post(BATCH, json={"profile_id": "x"}, headers=origin).headers
    )
    assert "access-control-allow-origin" in collector.get(f"/web/projects/{KEY}", headers=origin).headers
    for path in ("/", "/people", "/api/people", "/api/entries"):
        assert "access-control-allow-origin" not in collector.get(path, headers=origin).headers


def test_an_allow_list_of_sites_keeps_others_out(serve: Serve) -> None:
    collector = serve(origins=["https://shop.example"])
    for origin, allowed in (("https://shop.example", True), ("https://other.example", False)):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answered = collector.session.options(collector.url + BATCH, headers=asked, timeout=5)
        assert (answered.status_code == 200) is allowed


def test_a_sender_over_the_rate_limit_is_told_to_wait(serve: Serve) -> None:
    collector = serve(address_rate=0.1)
    statuses = [collector.send(profile_id=PROFILE).status_code for _ in range(2)]
    assert statuses == [200, 429]
    assert "retry-after" in collector.send(profile_id=PROFILE).headers


@on_both_stores
@pytest.mark.parametrize(
    "traits",
    [
        pytest.param({"n" * 1_001: 1}, id="a trait"),
        pytest.param({"$account": {"domain": "a.example", "€" * 334: 1}}, id="a company's trait"),
        pytest.param({"$account": {"domain": "a.example", "group_id": "g" * 1_001}}, id="a group_id"),
        pytest.param({"$account": {"domain": "a.example", "groupId": "g" * 1_001}}, id="a groupId"),
    ],
)
def test_a_name_longer_than_a_database_takes_costs_nothing_beside_it(
    collector: Running, traits: dict[str, Any]
) -> None:
    for body in (
        {"identifies": [{"traits": {**traits, "plan": "pro"}}]},
        {"traits": {**traits, "plan": "pro"}},
    ):
        assert collector.send(email="ada@example.com", **body).status_code == 200
    assert collector.people()["ada@example.com"]["traits"] == {"plan": "pro"}
    of_company = {"identifies": [{"traits": traits.get("$account", traits)}]}
    assert collector.send_account(domain="a.example", **of_company).status_code == 200


@on_both_stores
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            {"profile_id": "p", "events": [{"event": "e", "properties": nested(DATA_DEPTH)}]}, id="deep"
        ),
        pytest.param(
            {"profile_id": "p", "events": [{"event": "e", "properties": {"n": 10**400}}]}, id="huge int"
        ),
        pytest.param({"profile_id": "p", "events": [{"event": "n" * 600}]}, id="long name"),
        pytest.param({"profile_id": "p", "events": [{"event": " "}]}, id="blank name"),
        pytest.param({"profile_id": "p", "events": [{"event": "a\0b"}]}, id="NUL in a name"),
        pytest.param(
            {"profile_id": "p", "events": [{"event": "e", "message_id": "m\0" * 400}]}, id="message_id"
        ),
        pytest.param({"profile_id": "p", "events": [event("e", "9999-12-31T23:59:59.999Z")]}, id="far ahead"),
        pytest.param({"profile_id": "p", "events": [event("e", "yesterday")]}, id="no time"),
        pytest.param({"domain": "intranet", "events": [{"event": "e"}]}, id="a domain of one label"),
        pytest.param({"domain": "", "account_id": "a", "events": [{"event": "e"}]}, id="an empty domain"),
        pytest.param({"account_id": "a" * 600, "events": [{"event": "e"}]}, id="a long account_id"),
    ],
)
def test_what_a_client_may_send_is_taken(collector: Running, body: dict[str, Any]) -> None:
    answered = collector.send(**body) if "profile_id" in body else collector.send_account(**body)
    assert answered.status_code == 200
    assert len(collector.entries()) == 1
    assert collector.get("/").status_code == 200


def test_an_integer_that_no_float_holds_is_kept_as_its_digits(collector: Running) -> None:
    collector.send(profile_id="p", events=[{"event": "e", "properties": {"n": 10**400, "s": f"a {10**400}"}}])
    assert collector.entries()[0]["body"]["properties"] == {"n": str(10**400), "s": f"a {10**400}"}


def test_the_traits_of_one_identify_are_bounded(collector: Running) -> None:
    many = {f"t{number}": number for number in range(600)}
    assert collector.send(email="ada@example.com", identifies=[{"traits": many}]).status_code == 200
    assert len(collector.people()["ada@example.com"]["traits"]) == 500
    flood = {f"t{number}": number for number in range(80_000)}
    assert collector.send(email="ada@example.com", identifies=[{"traits": flood}]).status_code == 413


@on_both_stores
def test_the_longest_names_that_are_taken_fit_every_database(collector: Running) -> None:
    digits = "".join(hashlib.sha512(bytes([number])).hexdigest() for number in range(8))  # hard to compress
    company = {"domain": "a.example", "group_id": digits[:1_000], digits[-1_000:]: 1}
    answered = collector.send(email="ada@example.com", traits={digits[:1_000]: 1, "$account": company})
    assert answered.status_code == 200
    assert list(collector.people()["ada@example.com"]["traits"]) == [digits[:1_000]]


def test_a_companys_batch_makes_the_company(collector: Running) -> None:
    collector.send_account(domain="https://www.Acme.example/", identifies=[{"traits": {"plan": "x"}}])
    collector.send_account(account_id="42", events=[event("Renewed")])
    assert [entry["account"] for entry in collector.entries()] == ["acme.example", "42"]
    assert collector.send_account(events=[]).status_code == 400
    assert collector.send_account(domain="not a domain").status_code == 400
