"""One request, one person, one batch: what any app gets from Koala, whatever it is made with."""

from __future__ import annotations

import json
import re
from uuid import UUID

import pytest
from conformance.gates import Gate
from conformance.sites import Site

from koala_middleware.testing import Collector

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"


def test_a_sign_up_arrives_as_one_batch_of_one_person(site: Site, koala_collector: Collector) -> None:
    answer = site.post("/signup")

    [batch] = koala_collector.wait_for(1)
    assert answer.status == 200
    assert answer.body == b"welcome"
    assert batch["profile_id"] == answer.cookies["ko_id"].value
    assert batch["email"] == "ada@example.com"
    assert [identify["traits"] for identify in batch["identifies"]] == [
        {"name": "Ada", "email": "ada@example.com"}
    ]
    assert [(event["event"], event["properties"]) for event in batch["events"]] == [
        ("Created Account", {"plan": "pro"})
    ]


def test_what_is_sent_carries_ids_times_a_user_agent_and_goes_to_the_projects_path(
    site: Site, koala_collector: Collector
) -> None:
    site.post("/signup")

    [batch] = koala_collector.wait_for(1)
    [request] = koala_collector.received
    [event] = batch["events"]
    assert request.path == "/web/projects/pk_conformance/batch"
    assert request.headers["user-agent"].startswith("koala_middleware/")
    assert request.headers["content-type"] == "application/json"
    assert UUID(event["message_id"]).version == 7
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["sent_at"])
    assert event["context"]["library"]["name"] == "koala_middleware"


def test_the_visitors_cookie_is_set_once_on_the_registrable_domain(site: Site) -> None:
    cookie = site.get("/", host="www.shop.example.co.uk").cookies["ko_id"]

    assert UUID(cookie.value).version == 4
    assert cookie["domain"].lstrip(".") == "example.co.uk"
    assert cookie["path"] == "/"
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == str(365 * 24 * 60 * 60)
    assert not cookie["httponly"]
    assert not cookie["secure"]


def test_the_second_page_sets_no_cookie_and_is_the_same_visitor(
    site: Site, koala_collector: Collector
) -> None:
    first = site.get("/pricing")
    ko_id = first.cookies["ko_id"].value

    second = site.get("/pricing", cookie=f"a=1; ko_id={ko_id}; b=2")

    assert "ko_id" not in second.cookies
    site.drained()
    assert {batch["profile_id"] for batch in koala_collector.batches} == {ko_id}
    assert len(koala_collector.events.tracked) == 2


def test_handlers_see_the_visitors_id(site: Site) -> None:
    known = json.loads(site.get("/who-am-i", cookie=f"ko_id={ADA}").body)
    new = site.get("/who-am-i")

    assert known == {"profile_id": ADA, "email": None, "is_new": False, "enabled": True}
    assert json.loads(new.body)["profile_id"] == new.cookies["ko_id"].value
    assert json.loads(new.body)["is_new"] is True


def test_logging_out_makes_a_new_visitor_with_a_new_cookie(site: Site, koala_collector: Collector) -> None:
    answer = site.post("/logout", cookie=f"ko_id={ADA}")

    site.drained()
    after = answer.cookies["ko_id"].value
    assert after != ADA
    koala_collector.events.assert_tracked("Logged Out", profile_id=ADA)
    koala_collector.events.assert_tracked("Saw Goodbye", profile_id=after)


def test_two_people_in_one_exchange_are_two_batches(site: Site, koala_collector: Collector) -> None:
    site.post("/two-people", cookie=f"ko_id={ADA}")

    ada, grace = koala_collector.wait_for(2)
    assert (ada["email"], [event["event"] for event in ada["events"]]) == ("ada@example.com", ["Signed Out"])
    assert (grace["email"], [event["event"] for event in grace["events"]]) == (
        "grace@example.com",
        ["Signed In"],
    )


def test_a_companys_entries_go_to_the_accounts_path(site: Site, koala_collector: Collector) -> None:
    site.post("/company", cookie=f"ko_id={ADA}")

    [batch] = koala_collector.wait_for(1)
    assert koala_collector.received[0].path == "/web/projects/pk_conformance/accounts/batch"
    assert batch["domain"] == "example.com"
    assert batch["identifies"][0]["traits"] == {"plan": "enterprise"}
    assert batch["events"][0]["event"] == "Invoice Paid"


def test_the_proxy_is_the_requests_context(site: Site, koala_collector: Collector) -> None:
    site.get("/far", cookie=f"ko_id={ADA}")

    koala_collector.wait_for(1)
    koala_collector.events.assert_tracked("Far Away", profile_id=ADA, same=True)


def test_calls_in_a_stream_arrive(site: Site, koala_collector: Collector) -> None:
    answer = site.get("/stream", cookie=f"ko_id={ADA}")

    site.drained()
    assert answer.body == b"first,second"
    assert [event.data["part"] for event in koala_collector.events.of(ADA)] == [1, 2]


@pytest.mark.only(background=True)
def test_calls_of_a_background_task_after_the_response_arrive(site: Site, koala_collector: Collector) -> None:
    answer = site.post("/after", cookie=f"ko_id={ADA}")

    koala_collector.wait_for(lambda collector: len(collector.events.tracked) == 2)
    assert answer.body == b"we are on it"
    assert [event.name for event in koala_collector.events.of(ADA)] == ["Ordered", "Done Later"]


@pytest.mark.only(interface="asgi", background=True)
def test_the_batch_does_not_wait_for_a_background_task(
    served: Site, koala_collector: Collector, gate: Gate
) -> None:
    served.post("/after", cookie=f"ko_id={ADA}", x_gate=gate.address)

    koala_collector.wait_for(1)
    assert [event.name for event in koala_collector.events] == ["Ordered"]
    gate.open()
    koala_collector.wait_for(lambda collector: len(collector.events.tracked) == 2)


@pytest.mark.koala(enabled=False)
def test_switched_off_it_is_a_silent_no_op(site: Site, koala_collector: Collector) -> None:
    answer = site.post("/signup")
    told = json.loads(site.get("/who-am-i").body)

    assert (answer.status, answer.body) == (200, b"welcome")
    assert "ko_id" not in answer.cookies
    assert told["enabled"] is False
    site.drained()
    assert koala_collector.batches == []


@pytest.mark.koala(flush_interval=0.0)
def test_a_collector_that_does_not_answer_holds_up_nobody(site: Site, koala_collector: Collector) -> None:
    koala_collector.hold()

    answers = [site.post("/login", cookie=f"ko_id={ADA}") for _ in range(3)]

    assert [answer.body for answer in answers] == [b"hello again"] * 3
    koala_collector.wait_for(1)  # it was asked, and has not answered
    koala_collector.release()
    koala_collector.wait_for(lambda collector: len(collector.events.tracked) >= 3)


def test_a_dead_collector_changes_nothing_and_is_logged_once(site: Site, koala_collector: Collector) -> None:
    koala_collector.die()

    answers = [site.post("/login", cookie=f"ko_id={ADA}") for _ in range(2)]
    site.drained(within=0.1)
    answers.append(site.post("/login", cookie=f"ko_id={ADA}"))
    site.drained(within=0.1)
    site.complains(koala_collector.url)  # an outage is one once it has lasted a second
    answers.append(site.post("/login", cookie=f"ko_id={ADA}"))
    site.drained(within=0.1)

    assert [(answer.status, answer.body) for answer in answers] == [(200, b"hello again")] * 4
    complaints = [line for line in site.log().splitlines() if koala_collector.url in line]
    assert len(complaints) == 1
    assert "are sent again until they arrive" in complaints[0]
