"""The ticket in a job's message: the visitor who caused it and their consent, as a signed line of text.

A ticket holds only what consent allows: with "anonymous" no email, with "none" no id either. Must not know queues or
contexts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.errors import KoalaConfigError
from koala_middleware.identity.consent import Consent
from koala_middleware.protocol.subjects import Person

_LARGEST = 4096  # characters; the longest id and email need half of it
_VERSION = 1
_SALT = "koala_middleware.jobs.ticket"


class BadTicketError(Exception):
    """A ticket is invalid. The message says why and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who caused a job. `person` is None if they consented to nothing."""

    person: Person | None
    consent: Consent

    @classmethod
    def for_person(cls, person: Person, consent: Consent) -> Ticket:
        match consent:
            case "full":
                return cls(person, consent)
            case "anonymous":
                return cls(replace(person, email=None), consent)
            case "none":
                return cls(None, consent)


class TicketSigner:
    """Signs and reads tickets with one key.

    Raises:
        KoalaConfigError: signing_key is missing.
        ImportError: the extra `jobs` is not installed.
    """

    def __init__(self, config: KoalaConfig) -> None:
        if config.signing_key is None:
            raise KoalaConfigError(
                "signing_key",
                "missing",
                "a secret text, the same in every process that enqueues or runs jobs",
            )
        self._serializer = _serializer(config.signing_key)

    def sign(self, ticket: Ticket) -> str:
        """The ticket as one line of ASCII."""
        person = ticket.person or Person()
        text: str = self._serializer.dumps([_VERSION, ticket.consent, person.profile_id, person.email])
        return text

    def read(self, text: object) -> Ticket:
        """The ticket in a text. Raises BadTicketError."""
        from itsdangerous import BadData  # noqa: PLC0415  (an extra)

        if not isinstance(text, str):
            raise BadTicketError("it is not a text")
        if len(text) > _LARGEST:
            raise BadTicketError("it is too large")
        try:
            content = self._serializer.loads(text)
        except BadData:
            raise BadTicketError("it is not signed with this signing_key") from None
        return _ticket(content)


def _ticket(content: Any) -> Ticket:
    match content:
        case [1, str(consent), str() | None as profile_id, str() | None as email] if consent in get_args(
            Consent
        ):
            person = Person(profile_id, email) if profile_id or email else None
            return Ticket.for_person(person or Person(), consent if person else "none")  # type: ignore[arg-type]  # a Consent, as looked up
    raise BadTicketError("it is from another version of koala_middleware")


def _serializer(signing_key: str) -> Any:
    try:
        from itsdangerous import URLSafeSerializer  # noqa: PLC0415  (an extra)
    except ImportError:
        raise ImportError(
            "Visitors in jobs need itsdangerous: pip install 'koala-middleware[jobs]'"
        ) from None
    import hashlib  # noqa: PLC0415

    # Without an age limit: a job may be scheduled for next year.
    return URLSafeSerializer(
        signing_key, salt=_SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )
