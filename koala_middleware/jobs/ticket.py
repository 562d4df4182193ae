"""The ticket a job carries: who caused it and how far they consent, signed, as one line of text.

Knows no queue and no context. A ticket holds only what consent allows: nobody's id with "none", no email with
"anonymous".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.errors import KoalaConfigError
from koala_middleware.identity.consent import Consent
from koala_middleware.protocol.subjects import Person

LARGEST = 2048  # characters; the longest email and id come to half of it
_VERSION = 1
_SALT = "koala_middleware.jobs.ticket"


class BadTicketError(Exception):
    """A ticket that must not be believed; says why, and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Attributes:
    person: Who caused the job; None where they allowed nothing.
    """

    person: Person | None
    consent: Consent

    @classmethod
    def of(cls, person: Person, consent: Consent) -> Ticket:
        match consent:
            case "full":
                return cls(person, consent)
            case "anonymous":
                return cls(replace(person, email=None), consent)
            case "none":
                return cls(None, consent)


class Tickets:
    """Writes and reads tickets with one key.

    Raises:
        KoalaConfigError: signing_key is missing.
        ImportError: the extra `jobs` is not installed.
    """

    def __init__(self, config: KoalaConfig) -> None:
        if config.signing_key is None:
            raise KoalaConfigError(
                "signing_key",
                "missing",
                "a secret text, the same in every process that enqueues jobs or works on them",
            )
        self._serializer = _serializer(config.signing_key)

    def written(self, ticket: Ticket) -> str:
        """One line of ASCII. Raises BadTicketError when it would be too large to be read again."""
        person = ticket.person or Person()
        text: str = self._serializer.dumps([_VERSION, ticket.consent, person.profile_id, person.email])
        if len(text) > LARGEST:
            raise BadTicketError("it is too large")
        return text

    def read(self, text: object) -> Ticket:
        """The ticket again. Raises BadTicketError."""
        from itsdangerous import BadData  # noqa: PLC0415  (an extra)

        if not isinstance(text, str):
            raise BadTicketError("it is no text")
        if len(text) > LARGEST:
            raise BadTicketError("it is too large")
        try:
            said = self._serializer.loads(text)
        except BadData:
            raise BadTicketError("it is not signed with this signing_key") from None
        return _ticket(said)


def _ticket(said: Any) -> Ticket:
    match said:
        case [1, str(consent), str() | None as profile_id, str() | None as email] if consent in get_args(
            Consent
        ):
            person = Person(profile_id, email) if profile_id or email else None
            return Ticket.of(person or Person(), consent if person else "none")  # type: ignore[arg-type]  # a Consent, as looked up
    raise BadTicketError("another version of koala_middleware wrote it")


def _serializer(signing_key: str) -> Any:
    try:
        from itsdangerous import URLSafeSerializer  # noqa: PLC0415  (an extra)
    except ImportError:
        raise ImportError("Persons in jobs need itsdangerous: pip install 'koala-middleware[jobs]'") from None
    import hashlib  # noqa: PLC0415

    # Not timed: a job may be scheduled for next year.
    return URLSafeSerializer(
        signing_key, salt=_SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )
