"""Who is who, told as stories over HTTP. test_identity_model.py proves the rules; these show them."""

from __future__ import annotations

from support.collecting import Running, event, on_both_stores

pytestmark = on_both_stores

LAPTOP, PHONE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def at(minute: int) -> str:
    return f"2026-01-01T10:{minute:02}:00.000Z"


def page(minute: int) -> dict[str, object]:
    return {"message_id": f"page-{minute}", "page": {"path": f"/{minute}"}, "visit_start": at(minute)}


def identify(minute: int, **traits: object) -> dict[str, object]:
    return {"type": "identify", "sent_at": at(minute), "traits": traits}


def test_the_first_identify_brings_the_visitors_past_along(collector: Running) -> None:
    collector.send(profile_id=LAPTOP, page_views=[page(1)])
    assert collector.entries()[0]["email"] is None
    collector.send(profile_id=LAPTOP, email="ada@example.com", identifies=[identify(2, plan="pro")])
    assert collector.timeline("ada@example.com") == ["page", "identify"]


def test_the_same_email_on_two_browsers_is_one_person_with_two_profiles(collector: Running) -> None:
    collector.send(profile_id=LAPTOP, page_views=[page(1)])
    collector.send(profile_id=PHONE, page_views=[page(2)])
    collector.send(profile_id=PHONE, email="ada@example.com", events=[event("Signed Up", at(3))])
    collector.send(profile_id=LAPTOP, email="ada@example.com", events=[event("Logged In", at(4))])

    assert collector.people()["ada@example.com"]["profiles"] == [PHONE, LAPTOP]
    assert collector.timeline("ada@example.com") == ["page", "page", "Signed Up", "Logged In"]


def test_somebody_else_on_the_same_browser_gets_nothing_of_what_was_before(collector: Running) -> None:
    collector.send(profile_id=LAPTOP, email="ada@example.com", events=[event("Ada's", at(1))])
    collector.send(profile_id=LAPTOP, email="bob@example.com", events=[event("Bob's", at(3))])
    collector.send(profile_id=LAPTOP, events=[event("Ada's, late", at(2)), event("Bob's, too", at(4))])

    assert collector.timeline("ada@example.com") == ["Ada's", "Ada's, late"]
    assert collector.timeline("bob@example.com") == ["Bob's", "Bob's, too"]


def test_an_email_without_a_browser_is_the_same_person(collector: Running) -> None:
    collector.send(email="ada@example.com", events=[event("Invoice Paid", at(9))])
    collector.send(profile_id=LAPTOP, email="ADA@example.com ", events=[event("Logged In", at(8))])
    assert list(collector.people()) == ["ada@example.com"]
    assert collector.timeline("ada@example.com") == ["Logged In", "Invoice Paid"]


def test_a_late_replay_overwrites_nothing_newer(collector: Running) -> None:
    collector.send(profile_id=LAPTOP, email="ada@example.com", identifies=[identify(5, plan="pro", seats=3)])
    collector.send(
        profile_id=LAPTOP, email="ada@example.com", identifies=[identify(1, plan="trial", city="Turin")]
    )
    assert collector.people()["ada@example.com"]["traits"] == {"plan": "pro", "seats": 3, "city": "Turin"}


def test_a_bare_link_joins_profile_and_email(collector: Running) -> None:
    collector.send(profile_id=LAPTOP, page_views=[page(1)])
    collector.send(profile_id=LAPTOP, email="ada@example.com")
    assert collector.people()["ada@example.com"]["profiles"] == [LAPTOP]
    assert collector.timeline("ada@example.com")[0] == "page"


def test_an_identifys_own_email_names_the_profile(collector: Running) -> None:
    collector.send(profile_id=LAPTOP, identifies=[identify(1, email="ada@example.com", plan="pro")])
    assert collector.people()["ada@example.com"]["traits"] == {"plan": "pro"}


def test_companies_come_from_the_account_trait_and_the_emails_domain(collector: Running) -> None:
    account = {"domain": "acme.example", "group_id": "acme-prod", "plan": "Enterprise"}
    collector.send(
        profile_id=LAPTOP, email="ada@example.com", identifies=[identify(1, **{"$account": account})]
    )
    collector.send(email="bob@gmail.com", events=[event("x")])

    people = collector.people()
    assert sorted(people["ada@example.com"]["accounts"]) == ["acme.example", "example.com"]
    assert people["bob@gmail.com"]["accounts"] == [], "free mail names no company"


def test_people_under_different_keys_are_separate(collector: Running) -> None:
    collector.send(profile_id=LAPTOP, page_views=[page(1)])
    collector.send(key="pk_other", profile_id=LAPTOP, email="ada@example.com", events=[event("x")])
    assert [entry["email"] for entry in collector.entries()] == [None, "ada@example.com"]


def test_a_retry_that_brings_the_name_along_names_what_was_stored_without(collector: Running) -> None:
    clicked = event("Clicked", at(5))
    collector.send(profile_id=LAPTOP, email="ada@example.com", events=[event("Ada's", at(1))])
    collector.send(profile_id=LAPTOP, events=[clicked])
    collector.send(profile_id=LAPTOP, email="bob@example.com", events=[clicked, event("Bob's", at(6))])
    assert collector.timeline("bob@example.com") == ["Clicked", "Bob's"]
