"""The protocol's own examples, reproduced: what the guide shows is what we send."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from koala_middleware.payload.drafts import Call
from koala_middleware.payload.entries import build_batch
from koala_middleware.payload.values.cleaner import plain
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.request_bodies import request_body
from koala_middleware.protocol.subjects import Account, Person, Subject, merge_subjects

ADA = Person("3e6a2c18-3b02-40c4-b8d2-1842c193d3ba", "ada@example.com")
TRAITS = {
    "email": "ada@example.com",
    "billing_plan": "pro",
    "$account": {"domain": "example.com", "group_id": "acme-prod", "plan": "Enterprise"},
}


def nanoseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000) * 1_000_000


IDENTIFY = Call(ADA, "identify", None, TRAITS, nanoseconds("2023-11-30T02:51:36.840Z"), "018b-1")
TRACK = Call(ADA, "track", "Created Account", {}, nanoseconds("2022-11-09T23:57:14.776Z"), "018b-2")
PAGE = Call(ADA, "page", None, {}, nanoseconds("2022-11-09T23:57:14.776Z"), "018b-3")
LIBRARY = {"name": "koala-middleware", "version": "0.1.0"}
HOME = {
    "path": "/",
    "url": "https://example.com/",
    "host": "example.com",
    "referrer": "",
    "title": "",
    "utm": {},
}


def sent(
    subject: Subject, calls: list[Call], context: dict[str, Any], ip: str | None = None
) -> dict[str, Any]:
    batch = build_batch(subject, calls, json.dumps(context), plain, ip)
    body: dict[str, Any] = json.loads(request_body(batch))
    return body


def test_a_persons_batch(batch_schema: Draft202012Validator) -> None:
    context = {"page": HOME, "library": LIBRARY}
    body = sent(ADA, [IDENTIFY, TRACK, PAGE], context)
    assert body == {
        "profile_id": "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba",
        "email": "ada@example.com",
        "identifies": [
            {
                "type": "identify",
                "message_id": "018b-1",
                "sent_at": "2023-11-30T02:51:36.840Z",
                "traits": TRAITS,
            }
        ],
        "events": [
            {
                "type": "track",
                "event": "Created Account",
                "message_id": "018b-2",
                "sent_at": "2022-11-09T23:57:14.776Z",
                "properties": {},
                "context": context,
            }
        ],
        "page_views": [
            {
                "message_id": "018b-3",
                "page": HOME,
                "visit_start": "2022-11-09T23:57:14.776Z",
                "context": context,
            }
        ],
    }
    batch_schema.validate(body)


@pytest.mark.parametrize(
    ("person", "head"),
    [
        pytest.param(
            ADA,
            {"profile_id": ADA.profile_id, "email": ADA.email},
            id="an id and an email alone link the two",
        ),
        pytest.param(
            Person(email="ada@example.com"), {"email": "ada@example.com"}, id="a job knows an email only"
        ),
        pytest.param(Person(ADA.profile_id), {"profile_id": ADA.profile_id}, id="an anonymous visitor"),
    ],
)
def test_a_batch_names_its_person(
    person: Person, head: dict[str, str], batch_schema: Draft202012Validator
) -> None:
    assert sent(person, [], {}) == head
    batch_schema.validate(sent(person, [TRACK], {}))


def test_the_visitors_address_stands_beside_the_person(batch_schema: Draft202012Validator) -> None:
    body = sent(ADA, [TRACK], {}, ip="203.0.113.7")
    assert body["ip"] == "203.0.113.7"
    batch_schema.validate(body)


@pytest.mark.parametrize(
    ("account", "head"),
    [
        pytest.param(Account(domain="example.com"), {"domain": "example.com"}, id="by domain"),
        pytest.param(Account(account_id="acme"), {"account_id": "acme"}, id="by id"),
    ],
)
def test_a_companys_batch(
    account: Account, head: dict[str, str], accounts_batch_schema: Draft202012Validator
) -> None:
    traits = {"group_id": "acme-prod", "plan": "Enterprise"}
    body = sent(account, [IDENTIFY._replace(data=traits), TRACK], {"library": LIBRARY}, ip="203.0.113.7")
    assert body == {
        **head,
        "identifies": [
            {
                "type": "identify",
                "message_id": "018b-1",
                "sent_at": "2023-11-30T02:51:36.840Z",
                "traits": traits,
            }
        ],
        "events": [
            {
                "type": "track",
                "event": "Created Account",
                "message_id": "018b-2",
                "sent_at": "2022-11-09T23:57:14.776Z",
                "properties": {},
                "context": {"library": LIBRARY},
            }
        ],
    }
    accounts_batch_schema.validate(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"events": []}, id="nobody's"),
        pytest.param({"profile_id": "a", "events": [{"type": "track"}]}, id="an event without a name"),
        pytest.param({"profile_id": "a", "events": []}, id="an empty array"),
        pytest.param({"profile_id": "a", "trait": {}}, id="an unknown member"),
        pytest.param({"email": "no email"}, id="an email that is none"),
    ],
)
def test_the_schema_refuses_what_the_endpoint_would(body: object, batch_schema: Draft202012Validator) -> None:
    assert not batch_schema.is_valid(body)


def test_two_people_are_never_joined() -> None:
    grace = Person(ADA.profile_id, "grace@example.com")
    assert merge_subjects(ADA, grace) is None
    assert merge_subjects(Account("a.com"), Person("a.com")) is None


@pytest.mark.parametrize("email", ["ada@example.com", '"ada"@example.com', "zoë@example.com", "\ud800@x.com"])
def test_whom_a_batch_is_about_is_said_in_json_that_every_reader_takes(email: str) -> None:
    """A lone surrogate is no UTF-8: an endpoint would refuse the batch, and everything in it, for one letter."""
    said = json.loads(request_body(Batch(Person("p", email), (Entry("track", b"{}"),))))["email"]
    assert said.encode().decode() == email.encode(errors="replace").decode().replace("?", "\ufffd")
