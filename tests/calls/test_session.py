"""`client.person` and `client.account`: contexts outside requests, as `with` and as `async with`."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.profiling import just_as

from koala_middleware import KoalaClient, KoalaContext, koala
from koala_middleware.calls.session import PersonSession

if TYPE_CHECKING:
    from support.endpoint import JsonEndpoint

    from koala_middleware.identity.consent import Consent


def bodies(client: KoalaClient, endpoint: JsonEndpoint) -> list[tuple[str, Any]]:
    assert client.close(10).complete
    return [(asked.path, asked.body) for asked in endpoint.asked]


def test_a_persons_calls_are_sent_when_the_block_ends(endpoint: JsonEndpoint) -> None:
    client = endpoint.client()
    with client.person(email="ada@example.com") as person:
        assert koala.email == "ada@example.com"
        koala.track("Invoice Paid", {"total": 7})
        assert person._calls

    ((path, body),) = bodies(client, endpoint)
    assert path == "/web/projects/pk_api/batch"
    assert body["email"] == "ada@example.com"
    assert [event["event"] for event in body["events"]] == ["Invoice Paid"]


def test_async_with_means_the_same(endpoint: JsonEndpoint) -> None:
    client = endpoint.client()

    async def job() -> None:
        async with client.person(email="ada@example.com"):
            await asyncio.sleep(0)
            koala.track("Invoice Paid")
        async with client.account(domain="example.com") as account:
            account.track("Invoice Sent")
        assert not koala

    asyncio.run(job())

    found = bodies(client, endpoint)
    assert sorted(path for path, _ in found) == [
        "/web/projects/pk_api/accounts/batch",
        "/web/projects/pk_api/batch",
    ]


def test_two_tasks_side_by_side_each_have_their_own_person(endpoint: JsonEndpoint) -> None:
    client = endpoint.client()

    async def job(email: str) -> str | None:
        async with client.person(email=email):
            await asyncio.sleep(0)
            return koala.email

    async def both() -> list[str | None]:
        return list(await asyncio.gather(job("ada@example.com"), job("grace@example.com")))

    assert asyncio.run(both()) == ["ada@example.com", "grace@example.com"]
    client.close(0)


def test_inline_delivery_does_not_hold_up_the_event_loop(endpoint: JsonEndpoint) -> None:
    """`delivery="inline"` waits for the network; an async block waits in a thread."""

    other_work_done = threading.Event()
    endpoint.answer = lambda _: (200 if other_work_done.wait(20) else 500, {})
    client = endpoint.client(delivery="inline", request_timeout=20)

    async def other_work() -> None:
        await asyncio.wait_for(asyncio.to_thread(endpoint.wait_for, lambda: bool(endpoint.asked)), 20)
        other_work_done.set()

    async def job() -> None:
        working = asyncio.create_task(other_work())
        async with client.person(email="ada@example.com"):
            koala.track("Invoice Paid")
        await working

    asyncio.run(job())

    assert client.stats().delivered == 1
    assert len(endpoint.asked) == 1


def test_calls_before_an_exception_are_sent(endpoint: JsonEndpoint) -> None:
    client = endpoint.client()

    def job() -> None:
        with client.person(email="ada@example.com"):
            koala.track("Began")
            raise LookupError

    with pytest.raises(LookupError):
        job()

    assert len(bodies(client, endpoint)) == 1


def test_traits_are_the_first_identify_with_a_time_and_a_message_id(endpoint: JsonEndpoint) -> None:
    """At a batch's top level they would have neither: a retry could overwrite what is newer."""
    client = endpoint.client()
    with client.person(email="ada@example.com", traits={"plan": "pro"}):
        pass

    ((_, body),) = bodies(client, endpoint)
    (identify,) = body["identifies"]
    assert identify["traits"] == {"plan": "pro", "email": "ada@example.com"}
    assert {"sent_at", "message_id"} <= set(identify)
    assert "traits" not in body


def test_consent_holds_in_a_script_too(endpoint: JsonEndpoint) -> None:
    client = endpoint.client()
    with client.person(email="ada@example.com") as person:
        person.track("Came")
        person.consent("none")

    assert client.stats().dropped == {"consent": 1}
    assert bodies(client, endpoint) == []


def test_a_block_within_a_block_gives_the_outer_person_back(endpoint: JsonEndpoint) -> None:
    client = endpoint.client()
    with client.person(email="ada@example.com"):
        with client.person(email="grace@example.com"):
            assert koala.email == "grace@example.com"
        assert koala.email == "ada@example.com"


def test_a_block_ended_in_another_task_than_it_began_in_is_no_error(endpoint: JsonEndpoint) -> None:
    """As async generators do, and frameworks that run the two ends of one in different threads."""
    client = endpoint.client()

    async def job() -> None:
        session = client.person(email="ada@example.com")
        await asyncio.create_task(session.__aenter__())
        session._context.track("Done")
        await asyncio.create_task(session.__aexit__(None, None, None))

    asyncio.run(job())

    assert len(bodies(client, endpoint)) == 1


@pytest.mark.parametrize("level", ["full", "anonymous"])
def test_a_call_by_a_thread_after_the_block_leaves_at_once(endpoint: JsonEndpoint, level: Consent) -> None:
    client = endpoint.client()
    with client.person(profile_id="p-1", email="ada@example.com") as person:
        person.consent(level)

    person.track("Report Written")

    ((_, body),) = bodies(client, endpoint)
    assert [event["event"] for event in body["events"]] == ["Report Written"]
    assert body.get("email") == (None if level == "anonymous" else "ada@example.com")


def test_a_call_by_a_thread_just_as_the_block_ends_leaves_at_once(endpoint: JsonEndpoint) -> None:
    client = endpoint.client()
    with (
        just_as(KoalaContext._end, lambda: person.track("Report Written")),
        client.person(profile_id="p-1") as person,
    ):
        pass

    ((_, body),) = bodies(client, endpoint)
    assert [event["event"] for event in body["events"]] == ["Report Written"]


def test_a_block_can_be_entered_again(endpoint: JsonEndpoint) -> None:
    client = endpoint.client()
    block = client.person(email="ada@example.com")
    for number in range(2):
        with block as person:
            person.track("Counted", {"number": number})

    ((_, body),) = bodies(client, endpoint)
    assert [event["properties"]["number"] for event in body["events"]] == [0, 1]


def test_nothing_of_a_block_is_left_to_the_garbage_collector() -> None:
    """A context and who owns it hold each other: scripts that open a million blocks would run it all the time."""
    client = KoalaClient(public_api_key="pk_test", delivery="off")
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            with client.person(email="ada@example.com") as person:
                person.track("Counted")
        del person
        assert not [living for living in gc.get_objects() if type(living) is PersonSession]
    finally:
        gc.enable()
