"""Whatever is sent: no 500, and a batch is stored whole or not at all."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from support.collecting import KEY, Database, Running, event, listening
from support.examples import examples
from support.waiting import until

from koala_middleware import collector as package
from koala_middleware.collector import create_app

DOCUMENT = Path(package.__file__).parent / "openapi.json"
BATCH = f"/web/projects/{KEY}/batch"
schema = schemathesis.openapi.from_path(DOCUMENT).include(path_regex="^/(web|v1|api)/")
RELAXED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    lines = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def fuzzed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    database: Database = tmp_path_factory.mktemp("fuzz") / "koala.db"
    if request.param == "postgresql":
        database = request.getfixturevalue("postgresql").new_database()
    with listening(create_app(database, secret_key="sk_secret")) as running:
        yield running


@schema.parametrize()
@settings(max_examples=examples(25), deadline=None, suppress_health_check=RELAXED)
def test_requests_made_from_our_own_document_are_answered_as_it_says(case: Any, fuzzed: Running) -> None:
    headers = {"Authorization": "Bearer sk_secret", "User-Agent": "fuzz/1.0"}
    case.call_and_validate(
        base_url=fuzzed.url,
        headers=headers,
        checks=[not_a_server_error, status_code_conformance, response_schema_conformance],
    )


@settings(max_examples=examples(150), deadline=None, suppress_health_check=RELAXED)
@given(body=st.binary(max_size=300))
def test_raw_bytes_are_refused_in_words(fuzzed: Running, body: bytes) -> None:
    for headers in ({}, {"Content-Encoding": "gzip"}, {"Content-Type": "\xff/json"}):
        answered = fuzzed.post(BATCH, data=body, headers=headers)
        assert answered.status_code == 400
        assert answered.json()["error"]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=8), child, max_size=3),
)
times: st.SearchStrategy[Any] = st.sampled_from(
    ["2026-01-01T00:00:00Z", "2026-01-01", "", "soon", 0, -1, 1e308, 1700000000, None, True, []]
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(["Clicked", "", "\u0000", "x" * 501, "\U0001f428"]) | values,
        "message_id": st.sampled_from(["m1", "m2", "", "\u0000"]) | values,
        "sent_at": times,
        "visit_start": times,
        "traits": values,
        "properties": values,
        "context": values,
        "page": values,
    },
)
arrays = st.lists(fields | values, max_size=3) | values
bodies = st.fixed_dictionaries(
    {},
    optional={
        "profile_id": st.sampled_from(["p1", "p2", "null", " ", "\u202e"]) | values,
        "email": st.sampled_from(["ada@example.com", "BOB@example.com", "x"]) | values,
        "identifies": arrays,
        "events": arrays,
        "page_views": arrays,
        "traits": values,
        "domain": st.sampled_from(["acme.example", "x y"]) | values,
        "account_id": values,
    },
)


@settings(max_examples=examples(300), deadline=None, suppress_health_check=RELAXED)
@given(body=bodies, account=st.booleans())
def test_odd_batches_are_stored_whole_or_not_at_all(
    fuzzed: Running, body: dict[str, Any], account: bool
) -> None:
    path = f"/web/projects/{KEY}/accounts/batch" if account else BATCH
    with fuzzed.app.state.collector.store.reader() as reader:
        before = reader.newest_entry_no()

    answered = fuzzed.post(path, data=json.dumps(body).encode())

    assert answered.status_code in {200, 400}, answered.text
    with fuzzed.app.state.collector.store.reader() as reader:
        stored = reader.entries(before, 1_000)
        assert not stored or answered.ok
        for entry in stored:
            assert isinstance(orjson.loads(entry.body), dict)


@pytest.mark.parametrize(
    "path",
    [
        "/people?before=x-y",
        "/people?before=99999999999999999999-1",
        "/people/99999999999999999999999",
        "/people/1?before=1-zz",
        "/people/1?before=99999999999999999999999999-00",
        "/visitors/0",
        "/accounts/0",
        "/requests/99999999999999999999999",
        "/?kind=x&event=%00&person=%ff",
        "/?event=%F0%9F%90%A8",
        "/events?period=century",
        "/people?q=%25%5C_%00",
        "/api/entries?after=-1&limit=99999999",
        "/api/entries?after=99999999999999999999999999",
        f"/api/entries?after={'9' * 5_000}&limit={'9' * 5_000}",
        f"/people/{'9' * 5_000}",
        f"/people/1?before={'9' * 5_000}-00",
        f"/people?before={'9' * 5_000}-1",
        f"/requests/{'9' * 5_000}",
        "/api/v1/deletion-requests/%00",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/nowhere",
    ],
)
def test_odd_addresses_of_pages_are_answered(fuzzed: Running, path: str) -> None:
    fuzzed.send(profile_id="p1", email="ada@example.com", events=[event("Clicked")])
    answered = fuzzed.get(path, headers={"Authorization": "Bearer sk_secret"})
    assert answered.status_code in {200, 404}


def test_pages_stand_whatever_was_stored(fuzzed: Running) -> None:
    """After the fuzzing above: every person, company, visitor and request has a page."""
    with fuzzed.app.state.collector.store.reader() as reader:
        people = [f"/people/{person.person_no}" for person in reader.people(20)]
        accounts = [f"/accounts/{account.account_no}" for account in reader.accounts(10)]
        visitors = [f"/visitors/{entry.profile}" for entry in reader.entries(0, 50) if entry.profile]
        kept = [
            f"/requests/{row['request_no']}" for row in reader.requests(20, ("taken", "refused", "ignored"))
        ]
    for path in ["/", "/people", "/accounts", "/events", "/health", *people, *accounts, *visitors, *kept]:
        assert fuzzed.get(path).status_code == 200, path


def test_an_unfinished_body_is_no_error_of_ours(fuzzed: Running) -> None:
    host, _, port = fuzzed.url.removeprefix("http://").partition(":")
    head = f"POST {BATCH} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: x\r\nContent-Length: 100\r\n\r\n{{"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head.encode())
    until(lambda: "The body did not arrive completely" in [kept["notes"] for kept in fuzzed.requests()])
    assert fuzzed.get("/healthz").json() == {"ok": True}
