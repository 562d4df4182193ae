"""What a call may be given: the checks behind identify, track, page and the others.

A wrong type or an impossible argument raises at once, at the call, and says what to write instead; a message
shows types, never values, since those may be a person's. Knows no context and no request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from numbers import Real
from typing import Any, NoReturn, cast

from koala_middleware.payload.values.snapshot import snapshot

# One @, no blanks, a dot or not in the domain: whether it can be delivered is not ours to say.
_EMAIL = re.compile(r"[^\s@<>,;]{1,64}@[^\s@<>,;]{1,253}")
_NANOSECONDS = 1_000_000_000


def check_text(call: str, argument: str, given: object) -> None:
    if given is not None and not isinstance(given, str):
        refuse(call, argument, "a str or None", given)


def check_mapping(call: str, argument: str, given: object) -> None:
    # Nearly all are dicts, and asking an abstract class costs 0.3 µs, a quarter of a track().
    if given is not None and type(given) is not dict and not isinstance(given, Mapping):
        refuse(call, argument, "a mapping or None", given)


def check_timeout(call: str, given: object) -> None:
    if given is not None and not isinstance(given, Real):
        refuse(call, "timeout", "a number of seconds or None", given)


def check_event_name(given: str) -> None:
    if not given:
        raise ValueError('track() needs an event\'s name, such as track("Created Account")')


def check_ready(argument: str, given: object, kind: type, settings: Collection[str]) -> None:
    """What is given ready, a client or a configuration, comes alone: settings beside it would have no effect.

    Raises:
        TypeError: it is something else, or there are settings.
    """
    if given is None:
        return
    if not isinstance(given, kind):
        said = f"{argument} takes a {kind.__name__}, not {type(given).__name__}"
        raise TypeError(f"{said}. Settings are given by name, such as public_api_key=…")
    if settings:
        named = " and ".join(settings)
        raise TypeError(
            f"{named} beside {argument}=… would have no effect: write it where that {kind.__name__} is made"
        )


def check_account(traits: Mapping[str, Any] | None) -> None:
    """`$account` in traits: a mapping that names one group at most."""
    account = traits.get("$account") if traits else None
    if account is None:
        return
    if not isinstance(account, Mapping):
        refuse("identify", 'traits["$account"]', 'a mapping, such as {"domain": "example.com"},', account)
    check_group(account)


def check_group(traits: Mapping[str, Any], group_id: str | None = None) -> None:
    """One call speaks of one group, whichever way its id is spelled."""
    named = [traits[key] for key in ("group_id", "groupId") if traits.get(key) is not None]
    if group_id is not None:
        named.append(group_id)
    if any(other != named[0] for other in named[1:]):
        raise ValueError(
            "identify() takes one group id: here group_id and groupId differ. Give one of them, or call "
            "identify() once for each group"
        )


def as_said(mapping: Mapping[str, Any] | None) -> dict[str, Any]:
    """The mapping as it is now: what the handler changes after the call does not change what was said."""
    if not mapping:
        return {}
    said: dict[str, Any] = snapshot(mapping if type(mapping) is dict else dict(mapping))
    return said


def nanoseconds(moment: datetime) -> int:
    """A moment as nanoseconds since the epoch."""
    if not isinstance(moment, datetime):
        refuse("track", "sent_at", "a datetime or None", moment)
    if moment.tzinfo is None:
        raise ValueError("track() takes sent_at with a time zone, such as datetime.now(UTC)")
    return int(moment.timestamp() * _NANOSECONDS)


def accepted_email(call: str, email: object, notice: Callable[[str], None]) -> str | None:
    """The email without blanks around it; None where there is none, or `notice` hears that it is none."""
    if email is None or email == "":
        return None
    if isinstance(email, str) and _EMAIL.fullmatch(stripped := email.strip()):
        return stripped
    notice(f"{call}() was given an email that is none; it is left out, the rest is sent")
    return None


def whom(
    call: str, profile_id: object, email: object, notice: Callable[[str], None]
) -> tuple[str | None, str | None]:
    """The profile id and the email a call was given, checked.

    Raises:
        TypeError: one of them is no text.
        ValueError: neither of them says who.
    """
    check_text(call, "profile_id", profile_id)
    check_text(call, "email", email)
    accepted = accepted_email(call, email, notice) if email else None
    if not profile_id and accepted is None:
        raise ValueError(f'{call}() needs profile_id or email, such as {call}(email="ada@example.com")')
    return profile_id or None, accepted  # type: ignore[return-value]  # a text, by check_text


def checked_traits(call: str, traits: object) -> dict[str, Any] | None:
    """The traits as they are now. Raises TypeError where they are no mapping."""
    check_mapping(call, "traits", traits)
    return as_said(cast("Mapping[str, Any]", traits)) if traits else None


def checked_emails(call: str, emails: object) -> tuple[str, ...]:
    """The emails without blanks, each once.

    Raises:
        TypeError: they are no list of texts.
        ValueError: one of them is no email, or there are none.
    """
    # A text is itself a collection of texts: one email would become many people of one letter.
    if not isinstance(emails, Collection) or isinstance(emails, str | bytes | Mapping):
        refuse(call, "emails", 'a list, such as ["ada@example.com"],', emails)
    found: dict[str, str] = {}
    for number, email in enumerate(cast("Collection[object]", emails), 1):
        if not isinstance(email, str):
            refuse(call, f"email {number}", "a str", email)
        text = email.strip()
        if not _EMAIL.fullmatch(text):
            raise ValueError(f"{call}() takes emails, and number {number} of {len(emails)} is none")
        found.setdefault(text.lower(), text)
    if not found:
        raise ValueError(f'{call}() needs at least one email, such as {call}(["ada@example.com"])')
    return tuple(found.values())


def refuse_on_commit(_then: object) -> NoReturn:
    raise ValueError(
        "track(on_commit=True) waits for Django's database transaction, and there is none here. "
        "Call track() after your own commit"
    )


def refuse(call: str, argument: str, expected: str, given: object) -> NoReturn:
    raise TypeError(f"{call}() takes {expected} as {argument}, not {type(given).__name__}")
