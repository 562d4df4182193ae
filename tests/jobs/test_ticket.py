"""The ticket a job carries: what is in it, and what is not believed."""

from __future__ import annotations

from random import Random

import pytest
from itsdangerous import URLSafeSerializer

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.errors import KoalaConfigError
from koala_middleware.jobs.ticket import BadTicketError, Ticket, TicketSigner
from koala_middleware.protocol.subjects import Person

ADA = Person("3e6a2c18-3b02-40c4-b8d2-1842c193d3ba", "ada@example.com")


def tickets(signing_key: str = "a signing key for these tests") -> TicketSigner:
    return TicketSigner(KoalaConfig(public_api_key="pk_1", signing_key=signing_key))


def test_a_ticket_read_again_is_the_same() -> None:
    assert tickets().read(tickets().sign(Ticket.for_person(ADA, "full"))) == Ticket(ADA, "full")


def test_a_ticket_is_one_line_of_ascii() -> None:
    text = tickets().sign(Ticket.for_person(ADA, "full"))

    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 250


def test_with_anonymous_consent_no_email_is_in_it() -> None:
    text = tickets().sign(Ticket.for_person(ADA, "anonymous"))

    assert tickets().read(text) == Ticket(Person(ADA.profile_id, None), "anonymous")


def test_without_consent_nobody_is_in_it() -> None:
    text = tickets().sign(Ticket.for_person(ADA, "none"))

    assert tickets().read(text) == Ticket(None, "none")
    assert len(text) < 80


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            tickets("another key altogether").sign(Ticket.for_person(ADA, "full")), "not signed", id="forged"
        ),
        pytest.param(tickets().sign(Ticket.for_person(ADA, "full"))[:-1], "not signed", id="cut off"),
        pytest.param("", "not signed", id="empty"),
        pytest.param("é.è", "not signed", id="not ascii"),
        pytest.param("x" * 5000, "too large", id="too large"),
        pytest.param(7, "not a text", id="no text"),
        pytest.param({"a": 1}, "not a text", id="a mapping"),
    ],
)
def test_what_this_key_did_not_sign_is_not_believed(text: object, reason: str) -> None:
    with pytest.raises(BadTicketError, match=reason):
        tickets().read(text)


@pytest.mark.parametrize(
    "said", [[2, "full", "id", None], [1, "all", "id", None], [1, "full", 7, None], {}, [], None]
)
def test_a_ticket_of_another_version_is_not_believed(said: object) -> None:
    serializer: URLSafeSerializer = tickets()._serializer

    with pytest.raises(BadTicketError, match="another version"):
        tickets().read(serializer.dumps(said))


def test_the_longest_visitor_fits_into_a_ticket() -> None:
    characters = Random(1).choices(range(0x4E00, 0x9FFF), k=754)
    text = "".join(map(chr, characters))
    longest = Person(text[:500], text[500:])
    assert tickets().read(tickets().sign(Ticket.for_person(longest, "full"))) == Ticket(longest, "full")


def test_a_missing_signing_key_is_said_at_start() -> None:
    with pytest.raises(KoalaConfigError, match="signing_key is missing, expected a secret text"):
        TicketSigner(KoalaConfig(public_api_key="pk_1"))


def test_a_weak_signing_key_is_refused_and_not_shown() -> None:
    with pytest.raises(KoalaConfigError, match="16 characters or more") as refused:
        KoalaConfig(public_api_key="pk_1", signing_key="letmein")

    assert "letmein" not in str(refused.value)


def test_the_signing_key_is_not_in_the_configurations_repr() -> None:
    assert "secret-secret-secret" not in repr(
        KoalaConfig(public_api_key="pk_1", signing_key="secret-secret-secret")
    )
