"""What the client sends, the collector takes: one set of limits for both sides."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from koala_middleware import KoalaClient, KoalaContext
from koala_middleware.collector.validation.checked import IncomingBatch
from koala_middleware.collector.validation.parsing import parse_account_batch, parse_person_batch
from koala_middleware.protocol.limits import BODY_DEPTH, DATA_DEPTH, MAX_NAME_BYTES, MAX_TEXT
from koala_middleware.testing.recorder import listening, recording

NOW = time.time_ns() // 1_000_000


def nested(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = [value]
    return value


def sent(call: Callable[[KoalaContext], object]) -> tuple[dict[str, Any], IncomingBatch]:
    """The body of one call, and the batch that the collector makes of it."""
    with recording(), listening() as recorded:
        client = KoalaClient(public_api_key="pk_test", scrub=False)
        with client.person(profile_id="p-1", email="ada@example.com") as koala:
            call(koala)
    [body] = recorded.batches
    raw = json.dumps(body).encode()
    is_account = "domain" in body or "account_id" in body
    parse = parse_account_batch if is_account else parse_person_batch
    batch = parse("pk_test", raw, NOW)
    assert not batch.warnings
    return dict(body), batch


@pytest.mark.parametrize("levels", range(DATA_DEPTH - 2, BODY_DEPTH + 2))
def test_deep_data_is_cut_where_the_collector_would_refuse_it(levels: int) -> None:
    body, _ = sent(lambda koala: koala.track("Paid", {"deep": nested(levels)}))
    assert json.dumps(body["events"][0]["properties"]).count("[") == min(levels, DATA_DEPTH - 1)
    sent(lambda koala: koala.identify({"deep": nested(levels)}))
    sent(lambda koala: koala.page("Home", {"deep": nested(levels)}))
    sent(lambda koala: koala.track("Paid", context={"deep": nested(levels)}))
    sent(lambda koala: koala.account("example.com").identify({"deep": nested(levels)}))


@pytest.mark.parametrize(
    ("number", "value"), [(10**307, 10**307), (-(2**1023), "int"), (10**309, "int"), (-(10**400), "int")]
)
def test_a_whole_number_beyond_a_double_is_its_types_name(number: int, value: object) -> None:
    body, _ = sent(lambda koala: koala.track("Paid", {"number": number}))
    assert body["events"][0]["properties"] == {"number": value}


@pytest.mark.parametrize("length", [MAX_TEXT, MAX_TEXT + 1, 10_000])
def test_a_long_event_name_is_cut(length: int) -> None:
    body, batch = sent(lambda koala: koala.track("x" * length))
    assert body["events"][0]["event"] == "x" * MAX_TEXT
    assert batch.entries[0].name == "x" * MAX_TEXT


def test_nul_is_taken_out_of_an_event_name() -> None:
    body, _ = sent(lambda koala: koala.track("Pa\0id"))
    assert body["events"][0]["event"] == "Paid"


@pytest.mark.parametrize("name", ["", "  ", "\0", " \0\n"])
def test_a_blank_event_name_raises_at_the_call(name: str) -> None:
    client = KoalaClient(public_api_key="pk_test", delivery="off")
    with (
        client.person(profile_id="p-1") as koala,
        pytest.raises(ValueError, match="needs an event's name"),
    ):
        koala.track(name)


def test_different_long_message_ids_stay_different_and_equal_ones_equal() -> None:
    def message_id(text: str) -> bytes:
        _, batch = sent(lambda koala: koala.track("Paid", message_id=text))
        return batch.entries[0].message_id

    long = "x" * MAX_TEXT
    assert message_id(long + "1") == message_id(long + "1") != message_id(long + "2")
    assert message_id("a\0b") != message_id("ab")


def test_a_blank_message_id_is_replaced_by_a_new_one() -> None:
    body, _ = sent(lambda koala: koala.track("Paid", message_id="  "))
    assert len(body["events"][0]["message_id"]) == 36


@pytest.mark.parametrize("group_id", ["g" * MAX_NAME_BYTES, "g" * (MAX_NAME_BYTES + 1), "é" * 600])
def test_a_long_group_id_is_replaced_by_its_hash(group_id: str) -> None:
    account, _ = sent(lambda koala: koala.account("example.com").identify({"a": 1}, group_id=group_id))
    traits = {"$account": {"domain": "example.com", "groupId": group_id}}
    person, _ = sent(lambda koala: koala.identify(traits))
    [of_account] = account["identifies"]
    [of_person] = person["identifies"]
    kept = of_account["traits"]["group_id"]
    assert kept == of_person["traits"]["$account"]["groupId"]
    assert kept == (group_id if len(group_id) == MAX_NAME_BYTES else kept)
    assert len(kept) in {64, MAX_NAME_BYTES}


@pytest.mark.parametrize("domain", ["localhost", "acme", "-", "a b.com"])
def test_an_account_whose_domain_is_none_is_sent_by_account_id(domain: str) -> None:
    body, batch = sent(lambda koala: koala.account(domain).track("Paid"))
    assert (body.get("domain"), body["account_id"]) == (None, domain)
    assert batch.handle == domain


def test_a_long_account_id_is_replaced_by_its_hash() -> None:
    body, _ = sent(lambda koala: koala.account(account_id="x" * (MAX_TEXT + 1)).track("Paid"))
    assert len(body["account_id"]) == 64


@pytest.mark.parametrize(
    "email",
    ["a\0b@example.com", 'a"b@example.com', "a@" + "x" * 191 + ".com", "a" * 65 + "@b.com", "a\x01@b.com"],
)
def test_an_email_that_the_collector_would_refuse_is_ignored(email: str) -> None:
    body, _ = sent(lambda koala: koala.identify(email, {"plan": "pro"}))
    assert body["email"] == "ada@example.com"
    client = KoalaClient(public_api_key="pk_test", delivery="off")
    with pytest.raises(ValueError, match="needs profile_id or email"):
        client.person(email=email)


@pytest.mark.parametrize("profile_id", ["undefined", "null", "0", "a\0b", "x" * (MAX_TEXT + 1), " "])
def test_a_profile_id_that_the_collector_would_refuse_is_ignored(profile_id: str) -> None:
    client = KoalaClient(public_api_key="pk_test", delivery="off")
    with pytest.raises(ValueError, match="needs profile_id or email"):
        client.person(profile_id=profile_id)
    with client.person(profile_id=profile_id, email="ada@example.com") as koala:
        assert koala.profile_id is None


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59.999Z"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), "9999-12-31T23:59:59.999Z"),
        (datetime.min.replace(tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=12))), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_the_edges_of_time_are_sent(moment: datetime, text: str) -> None:
    with recording(), listening() as recorded:
        client = KoalaClient(public_api_key="pk_test")
        with client.person(profile_id="p-1") as koala:
            koala.track("Paid", sent_at=moment)
    [body] = recorded.batches
    assert body["events"][0]["sent_at"] == text
    assert parse_person_batch("pk_test", json.dumps(body).encode(), NOW).entries[0].sent_at == NOW
