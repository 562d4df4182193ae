"""Checks the arguments of identify, track, page and the other calls.

A wrong argument raises at the call and says what to write instead. Messages show types, never values, since
those may be a person's. Must not know contexts or requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from numbers import Real
from typing import Any, NoReturn, cast

from koala_middleware.payload.values.snapshot import snapshot
from koala_middleware.protocol.formats import is_email, is_profile_id, normal_domain, short_id

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOSECONDS = 1_000  # in a microsecond


def check_text(call: str, argument: str, given: object) -> None:
    if given is not None and not isinstance(given, str):
        raise_type_error(call, argument, "a str or None", given)


def check_mapping(call: str, argument: str, given: object) -> None:
    # Nearly all are dicts, and the abstract class costs 0.3 µs, a quarter of a track().
    if given is not None and type(given) is not dict and not isinstance(given, Mapping):
        raise_type_error(call, argument, "a mapping or None", given)


def check_timeout(call: str, given: object) -> None:
    if given is not None and not isinstance(given, Real):
        raise_type_error(call, "timeout", "a number of seconds or None", given)


def check_event_name(given: str) -> None:
    if not given.replace("\0", "").strip():
        raise ValueError('track() needs an event\'s name, such as track("Created Account")')


def check_exclusive(argument: str, given: object, kind: type, settings: Collection[str]) -> None:
    """Checks that a ready-made client or configuration is given without settings, which would have no effect.

    Raises:
        TypeError: it has another type, or there are settings.
    """
    if given is None:
        return
    if not isinstance(given, kind):
        wrong = f"{argument} takes a {kind.__name__}, not {type(given).__name__}"
        raise TypeError(f"{wrong}. Settings are given by name, such as public_api_key=…")
    if settings:
        named = " and ".join(settings)
        raise TypeError(
            f"{named} beside {argument}=… would have no effect: write it where that {kind.__name__} is made"
        )


def check_account(traits: Mapping[str, Any] | None) -> None:
    """Checks that `$account` in traits is a mapping that names one group at most."""
    account = traits.get("$account") if traits else None
    if account is None:
        return
    if not isinstance(account, Mapping):
        raise_type_error(
            "identify", 'traits["$account"]', 'a mapping, such as {"domain": "example.com"},', account
        )
    check_group(account)


def check_group(traits: Mapping[str, Any], group_id: str | None = None) -> None:
    """Checks that a call names one group only, as `group_id` or `groupId`."""
    named = [traits[key] for key in ("group_id", "groupId") if traits.get(key) is not None]
    if group_id is not None:
        named.append(group_id)
    if any(other != named[0] for other in named[1:]):
        raise ValueError(
            "identify() takes one group id: here group_id and groupId differ. Give one of them, or call "
            "identify() once for each group"
        )


def copied(mapping: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy, so that the handler's later changes do not show in what was recorded."""
    if not mapping:
        return {}
    copy: dict[str, Any] = snapshot(mapping if type(mapping) is dict else dict(mapping))
    return copy


def nanoseconds(moment: datetime) -> int:
    """A moment as nanoseconds since the epoch."""
    if not isinstance(moment, datetime):
        raise_type_error("track", "sent_at", "a datetime or None", moment)
    if moment.tzinfo is None:
        raise ValueError("track() takes sent_at with a time zone, such as datetime.now(UTC)")
    return (moment - _EPOCH) // timedelta(microseconds=1) * _NANOSECONDS


def valid_email(call: str, email: object, notice: Callable[[str], None]) -> str | None:
    """The email without surrounding whitespace. None if there is none, or if it is invalid, which `notice` logs."""
    if email is None or email == "":
        return None
    if isinstance(email, str) and _is_one_email(stripped := email.strip()):
        return stripped
    notice(f"{call}() was given an invalid email; it is ignored, the rest is sent")
    return None


def _is_one_email(text: str) -> bool:
    """Whether the text is an email, and not a list of them."""
    return is_email(text) and "," not in text and ";" not in text


def valid_profile_id(call: str, profile_id: str | None, notice: Callable[[str], None]) -> str | None:
    """The id without surrounding whitespace. None if there is none, or if it is invalid, which `notice` logs."""
    if not profile_id or is_profile_id(stripped := profile_id.strip()):
        return stripped if profile_id else None
    notice(f"{call}() was given an invalid profile_id; it is ignored")
    return None


def account_ids(
    domain: str | None, account_id: str | None, notice: Callable[[str], None]
) -> tuple[str | None, str | None]:
    """What identifies an account: its domain, if it is a valid one, and its id."""
    domain, account_id = (domain or "").strip(), (account_id or "").strip()
    if domain and normal_domain(domain) is None:
        notice("account() was given an invalid domain; it is sent as account_id")
        domain, account_id = "", account_id or domain
    return domain or None, short_id(account_id) if account_id else None


def checked_person(
    call: str, profile_id: object, email: object, notice: Callable[[str], None]
) -> tuple[str | None, str | None]:
    """The profile id and the email of a call.

    Raises:
        TypeError: one of them is not a str.
        ValueError: there is neither an id nor a valid email.
    """
    check_text(call, "profile_id", profile_id)
    check_text(call, "email", email)
    valid = valid_email(call, email, notice) if email else None
    profile_id = valid_profile_id(call, cast("str | None", profile_id), notice)
    if profile_id is None and valid is None:
        raise ValueError(f'{call}() needs profile_id or email, such as {call}(email="ada@example.com")')
    return profile_id, valid


def checked_traits(call: str, traits: object) -> dict[str, Any] | None:
    """A copy of the traits. Raises TypeError if they are not a mapping."""
    check_mapping(call, "traits", traits)
    return copied(cast("Mapping[str, Any]", traits)) if traits else None


def checked_emails(call: str, emails: object) -> tuple[str, ...]:
    """The emails without whitespace and duplicates.

    Raises:
        TypeError: they are not a list of str.
        ValueError: one of them is invalid, or there are none.
    """
    # A str is a collection, too: one email would become many people of one letter.
    if not isinstance(emails, Collection) or isinstance(emails, str | bytes | Mapping):
        raise_type_error(call, "emails", 'a list, such as ["ada@example.com"],', emails)
    found: dict[str, str] = {}
    for number, email in enumerate(cast("Collection[object]", emails), 1):
        if not isinstance(email, str):
            raise_type_error(call, f"email {number}", "a str", email)
        text = email.strip()
        if not _is_one_email(text):
            raise ValueError(f"{call}() takes emails, and number {number} of {len(emails)} is invalid")
        found.setdefault(text.lower(), text)
    if not found:
        raise ValueError(f'{call}() needs at least one email, such as {call}(["ada@example.com"])')
    return tuple(found.values())


def refuse_on_commit() -> NoReturn:
    raise ValueError(
        "track(on_commit=True) waits for Django's database transaction, and there is none here. "
        "Call track() after your own commit"
    )


def raise_type_error(call: str, argument: str, expected: str, given: object) -> NoReturn:
    raise TypeError(f"{call}() takes {expected} as {argument}, not {type(given).__name__}")
