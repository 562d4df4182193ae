"""Many batches in one request: each line is taken or refused as a request of its own would be."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.collecting import KEY, Running, Serve, event
from support.waiting import until

BULK = f"/web/projects/{KEY}/bulk"


def bulk(collector: Running, *lines: Any, **headers: str) -> requests.Response:
    """Lines that are no bytes are sent as JSON."""
    body = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    encoded = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip", **headers}
    return collector.post(BULK, data=gzip.compress(body), headers=encoded)


def statuses(answered: requests.Response) -> list[int]:
    assert answered.status_code == 207, answered.text
    return [answer["status"] for answer in answered.json()["answers"]]


def test_the_bootstrap_says_that_bulk_is_taken(collector: Running) -> None:
    assert collector.get(f"/web/projects/{KEY}").json()["bulk"] is True


def test_people_and_companies_come_in_one_request(collector: Running) -> None:
    answered = bulk(
        collector,
        {"profile_id": "ada", "email": "ada@example.com", "events": [event("Signed Up")]},
        {"profile_id": "grace", "page_views": [{"page": {"path": "/"}}]},
        {"domain": "acme.example", "identifies": [{"traits": {"plan": "pro"}}]},
        {"account_id": "42", "events": [event("Renewed")]},
    )
    assert statuses(answered) == [200, 200, 200, 200]
    stored = [(entry["profile_id"], entry["account"], entry["kind"]) for entry in collector.entries()]
    assert stored == [
        ("ada", None, "track"),
        ("grace", None, "page"),
        (None, "acme.example", "identify"),
        (None, "42", "track"),
    ]


def test_a_line_that_names_a_person_and_a_company_is_the_persons(collector: Running) -> None:
    assert statuses(bulk(collector, {"profile_id": "ada", "domain": "acme.example", "events": [event("E")]}))
    assert collector.entries()[0]["profile_id"] == "ada"


def test_a_bad_line_is_refused_alone_and_in_its_place(collector: Running) -> None:
    answered = bulk(
        collector,
        {"profile_id": "ada", "events": [event("First")]},
        b"{no json",
        {"events": [event("Nobody's")]},
        b"",
        {"profile_id": "ada", "events": [{"event": ""}]},
        {"profile_id": "ada", "events": [event("Last")]},
    )
    assert statuses(answered) == [200, 400, 400, 400, 400, 200]
    assert [entry["event"] for entry in collector.entries()] == ["First", "Last"]
    assert "profile_id or email is required" in answered.json()["answers"][2]["error"]
    until(lambda: [kept["outcome"] for kept in collector.requests()].count("refused") == 4)


def test_lines_may_be_gzipped_one_by_one(collector: Running) -> None:
    lines = [json.dumps({"profile_id": "ada", "events": [event(f"{n}")]}) for n in range(3)]
    body = b"".join(gzip.compress(line.encode() + b"\n") for line in lines)
    answered = collector.post(BULK, data=body, headers={"Content-Encoding": "gzip"})
    assert statuses(answered) == [200, 200, 200]
    assert [entry["event"] for entry in collector.entries()] == ["0", "1", "2"]


def test_one_persons_lines_are_recorded_in_their_order(collector: Running) -> None:
    assert (
        statuses(bulk(collector, *({"profile_id": "ada", "events": [event(f"{n}")]} for n in range(1_000))))
        == [200] * 1_000
    )
    found = [entry["event"] for entry in collector.entries()]
    assert found == [str(number) for number in range(len(found))]


def test_a_bulk_that_comes_again_counts_once(collector: Running) -> None:
    lines = [{"profile_id": f"p{number}", "events": [event("Clicked")]} for number in range(20)]
    for _ in range(2):
        assert statuses(bulk(collector, *lines)) == [200] * 20
    assert len(collector.entries()) == 20


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(gzip.compress(b" " * 50_000_000), 413, "too_large", id="a bomb"),
        pytest.param(gzip.compress(b"{}\n" * 1_001), 413, "too_many_lines", id="1001 lines"),
        pytest.param(gzip.compress(b"{}\n" * 10)[:-9], 400, "bad_gzip", id="cut off"),
        pytest.param(b"{}\n", 400, "bad_gzip", id="no gzip"),
    ],
)
def test_what_cannot_be_a_bulk_is_refused_as_a_whole(
    collector: Running, body: bytes, status: int, code: str
) -> None:
    answered = collector.post(BULK, data=body, headers={"Content-Encoding": "gzip"})
    assert (answered.status_code, answered.json()["code"]) == (status, code)
    assert collector.entries() == []


def test_one_line_is_no_larger_than_a_batch_may_be(collector: Running) -> None:
    answered = bulk(
        collector, {"profile_id": "x", "y": "z" * 1_100_000}, {"profile_id": "ada", "events": [event("E")]}
    )
    assert statuses(answered) == [413, 200]


def test_lines_count_for_the_rate_limits(serve: Serve) -> None:
    collector = serve(key_rate=0.3)  # three at once
    lines = [{"profile_id": f"p{number}", "events": [event("E")]} for number in range(5)]
    answered = bulk(collector, *lines)
    assert statuses(answered) == [200, 200, 200, 429, 429]
    assert "retry-after" in answered.headers


def test_an_unknown_key_is_refused_as_a_whole(serve: Serve) -> None:
    collector = serve(keys=["pk_other"])
    assert bulk(collector, {"profile_id": "ada"}).status_code == 403


def test_lines_without_user_agent_are_answered_shown_and_not_counted(collector: Running) -> None:
    collector.session.headers["User-Agent"] = ""
    assert statuses(bulk(collector, {"profile_id": "ada", "events": [event("E")]})) == [200]
    until(lambda: [kept["outcome"] for kept in collector.requests()] == ["ignored"])
    assert collector.entries() == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), min_size=1))
def test_whatever_the_lines_are_each_has_its_answer(collector: Running, lines: list[bytes]) -> None:
    assert len(statuses(bulk(collector, *lines))) == len(lines)
