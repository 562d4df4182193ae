"""Both ends of a queue: the job runs whatever becomes of its ticket and of the endpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from koala_middleware import KoalaClient, koala
from koala_middleware.jobs.propagation import VisitorPropagator

KEY = "a signing key for these tests"


@pytest.fixture
def client(unreachable: str) -> Iterator[KoalaClient]:
    client = KoalaClient(
        public_api_key="pk_propagation", endpoint=unreachable, signing_key=KEY, shutdown_timeout=0.3
    )
    yield client
    client.close(0)


@pytest.fixture
def unreachable() -> str:
    """An address where nobody listens any more."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}"


def test_a_ticket_carries_the_current_person(client: KoalaClient) -> None:
    propagator = VisitorPropagator(client)
    with client.person(profile_id="an-id", email="ada@example.com"):
        ticket = propagator.ticket()

    with propagator.run(ticket):
        assert (koala.profile_id, koala.email) == ("an-id", "ada@example.com")


def test_there_is_no_ticket_where_nobody_is_known(client: KoalaClient) -> None:
    assert VisitorPropagator(client).ticket() is None


def test_a_forged_ticket_is_ignored_said_once_and_counted(
    client: KoalaClient, caplog: pytest.LogCaptureFixture
) -> None:
    ran = 0
    for _ in range(3):
        with VisitorPropagator(client).run("forged"):
            ran += 1
            with pytest.raises(RuntimeError, match="no request is being handled"):
                koala.track("Done")

    assert ran == 3
    assert [record.message for record in caplog.records if "ticket" in record.message] == [
        "a job runs without its visitor, since its ticket is invalid: "
        "it is not signed with this signing_key (logged once)"
    ]
    assert sum(client._pipeline.log.counts.values()) == 3


def test_what_a_job_without_consent_said_is_counted_as_dropped(client: KoalaClient) -> None:
    propagator = VisitorPropagator(client)
    with client.person(email="ada@example.com") as person:
        person.consent("none")
        ticket = propagator.ticket()

    before = client.stats().dropped.get("consent", 0)
    with propagator.run(ticket):
        koala.track("Done")

    assert client.stats().dropped["consent"] == before + 1


def test_consent_in_a_job_cannot_bring_back_who_allowed_nothing(
    client: KoalaClient, caplog: pytest.LogCaptureFixture
) -> None:
    propagator = VisitorPropagator(client)
    with client.person(email="ada@example.com") as person:
        person.consent("none")
        ticket = propagator.ticket()

    with propagator.run(ticket):
        koala.consent("full")
        assert koala.consent_given == "none"

    assert "cannot bring back a visitor who allowed nothing" in caplog.text


def test_a_job_run_at_once_stays_in_its_callers_context(client: KoalaClient) -> None:
    """Celery's `task_always_eager`, RQ's `is_async=False`, Django's ImmediateBackend: within a request."""
    propagator = VisitorPropagator(client)
    with client.person(email="ada@example.com") as person:
        began = time.monotonic()
        with propagator.run(propagator.ticket()):
            koala.track("Done")
            assert koala._get_current_object() is person  # type: ignore[attr-defined]  # a LocalProxy
        assert person._calls
        assert time.monotonic() - began < client.config.shutdown_timeout


def test_an_exception_of_the_job_is_the_jobs(client: KoalaClient) -> None:
    with pytest.raises(ZeroDivisionError), VisitorPropagator(client).run(None):
        _ = 1 / 0


def test_an_endpoint_that_is_down_holds_a_job_up_for_shutdown_timeout_at_most(client: KoalaClient) -> None:
    propagator = VisitorPropagator(client)
    with client.person(email="ada@example.com"):
        ticket = propagator.ticket()

    began = time.monotonic()
    with propagator.run(ticket):
        koala.track("Done")

    assert time.monotonic() - began < 0.3 + 2.0
    assert client.stats().waiting >= 1


def test_once_the_endpoint_is_known_to_be_down_no_job_waits_for_it(unreachable: str) -> None:
    client = KoalaClient(public_api_key="pk_down", endpoint=unreachable, signing_key=KEY, shutdown_timeout=2)
    propagator = VisitorPropagator(client)
    with client.person(email="ada@example.com"):
        ticket = propagator.ticket()

    waits = []
    for _ in range(4):
        with propagator.run(ticket):
            koala.track("Done")
            began = time.monotonic()
        waits.append(time.monotonic() - began)

    assert max(waits[1:]) < 0.5
    assert client.stats().waiting == 4
    client.close(0)


def test_a_job_leaves_nothing_behind_in_its_thread(client: KoalaClient) -> None:
    propagator = VisitorPropagator(client)
    with client.person(email="ada@example.com"):
        ticket = propagator.ticket()
    seen: list[bool] = []

    def work() -> None:
        with propagator.run(ticket):
            seen.append(bool(koala))
        seen.append(bool(koala))

    thread = Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [True, False]


def test_turned_off_there_are_no_tickets_and_no_key_is_needed(caplog: pytest.LogCaptureFixture) -> None:
    off = KoalaClient(enabled=False)
    with caplog.at_level(logging.WARNING), off.person(email="ada@example.com"):
        assert VisitorPropagator(off).ticket() is None
        with VisitorPropagator(off).run("anything"):
            pass
    assert not caplog.records
