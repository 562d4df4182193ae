"""What the protocol's guide shows, said through the middleware half, as a real collector has it in the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.collecting import KEY, Running

from koala_middleware.client import KoalaClient

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"


@pytest.fixture
def client(collector: Running) -> Iterator[KoalaClient]:
    client = KoalaClient(public_api_key=KEY, endpoint=collector.url, flush_interval=0)
    yield client
    client.close()


def stored(client: KoalaClient, collector: Running) -> list[dict[str, Any]]:
    assert client.flush(10).complete
    return collector.entries()


def test_identify_with_a_company_makes_the_person_and_the_company(
    client: KoalaClient, collector: Running
) -> None:
    company = {"domain": "example.com", "group_id": "acme-prod", "plan": "Enterprise"}
    with client.person(profile_id=ADA, email="ada@example.com") as koala:
        koala.identify("ada@example.com", {"billing_plan": "pro", "$account": company})
    [identify] = stored(client, collector)
    assert (identify["kind"], identify["profile_id"], identify["email"]) == (
        "identify",
        ADA,
        "ada@example.com",
    )
    assert identify["body"]["traits"] == {
        "email": "ada@example.com",
        "billing_plan": "pro",
        "$account": company,
    }
    assert identify["body"]["sent_at"].endswith("Z")
    assert "ada@example.com" in collector.people()
    assert collector.get("/accounts").text.count("example.com") >= 1


def test_an_event_keeps_its_name_key_and_properties(client: KoalaClient, collector: Running) -> None:
    with client.person(profile_id=ADA, email="ada@example.com") as koala:
        koala.track("Created Account", {}, message_id="018b-1")
        koala.track("Created Account", {}, message_id="018b-1")  # the same key: counted once
    [event] = stored(client, collector)
    assert (event["kind"], event["event"]) == ("track", "Created Account")
    assert event["body"]["message_id"] == "018b-1"
    assert event["body"]["properties"] == {}


def test_a_page_view_has_the_pixels_shape(client: KoalaClient, collector: Running) -> None:
    page = {"path": "/", "url": "https://example.com/", "host": "example.com", "referrer": "", "utm": {}}
    with client.person(profile_id=ADA) as koala:
        koala.page("Home", page)
    [view] = stored(client, collector)
    assert view["kind"] == "page"
    assert view["body"]["page"] == {**page, "title": "Home"}
    assert view["body"]["visit_start"].endswith("Z")


def test_an_email_alone_attaches_to_the_person_known_under_it(
    client: KoalaClient, collector: Running
) -> None:
    with client.person(profile_id=ADA, email="ada@example.com") as koala:
        koala.identify("ada@example.com")
    with client.person(email="ada@example.com") as koala:
        koala.track("Invoice Paid")
    assert {entry["email"] for entry in stored(client, collector)} == {"ada@example.com"}
    assert list(collector.people()) == ["ada@example.com"]


def test_a_companys_batch_goes_to_its_own_endpoint(client: KoalaClient, collector: Running) -> None:
    with client.account(domain="example.com") as account:
        account.identify({"plan": "Enterprise"}, group_id="acme-prod")
        account.track("Contract Signed", {"seats": 12})
    identify, event = sorted(stored(client, collector), key=lambda entry: str(entry["kind"]))
    assert identify["account"] == event["account"] == "example.com"
    assert identify["body"]["traits"] == {"plan": "Enterprise", "group_id": "acme-prod"}
    assert event["body"]["properties"] == {"seats": 12}


def test_more_than_thirty_of_a_kind_arrive_in_more_than_one_request(
    client: KoalaClient, collector: Running
) -> None:
    with client.person(profile_id=ADA) as koala:
        for number in range(65):
            koala.track("Counted", {"number": number})
    entries = sorted(stored(client, collector), key=lambda entry: int(entry["body"]["properties"]["number"]))
    assert [entry["body"]["properties"]["number"] for entry in entries] == list(range(65))
    assert len({entry["request_no"] for entry in entries}) == 3
