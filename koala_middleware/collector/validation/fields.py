"""Single fields of a body, checked: texts, objects, ids, emails, times. Each refusal names the field.

Must not know what the fields are for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from koala_middleware.collector.times import DAY
from koala_middleware.collector.validation.checked import IncomingBatch
from koala_middleware.collector.validation.emails_and_domains import normal_email
from koala_middleware.collector.validation.json_object import type_name
from koala_middleware.collector.validation.refusal import RequestRefused
from koala_middleware.protocol.formats import is_placeholder, is_profile_id
from koala_middleware.protocol.limits import MAX_TEXT

MAX_CLOCK_SKEW = DAY  # how far a sender's clock may be ahead before its time is not believed
_EPOCH_SECONDS = 10_000_000_000  # a number below is seconds (until the year 2286), above it milliseconds


def text_field(item: dict[str, Any], name: str, where: str = "") -> str | None:
    """A text without surrounding whitespace; None when it is absent or null."""
    value = item.get(name)
    if value is None:
        return None
    label = f"{where}.{name}".lstrip(".")
    if not isinstance(value, str):
        raise RequestRefused(f"{label} must be text, not {type_name(value)}", f"bad_{name}")
    return value.strip()


def shortened(text: str, label: str, batch: IncomingBatch) -> str:
    """A name as databases hold it: MAX_TEXT characters at most, without NUL. A change is only a warning."""
    short = text[:MAX_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}")
    if short != text:
        batch.warnings.append(f"{label} is longer than {MAX_TEXT} characters or has NUL: it was changed")
    return short


def object_field(item: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """An object; empty when it is absent or null."""
    value = item.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        label = f"{where}.{name}".lstrip(".")
        raise RequestRefused(f"{label} must be an object, not {type_name(value)}", f"bad_{name}")
    return value


def parse_profile_id(value: Any) -> str | None:
    """The id without surrounding whitespace; None when it is absent. Raises RequestRefused."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise RequestRefused(f"profile_id must be text, not {type_name(value)}", "bad_profile_id")
    profile_id = value.strip()
    if is_placeholder(profile_id):
        raise RequestRefused(
            f"profile_id is {value!r}, which would make all such visitors one: expected the ko_id cookie's value",
            "bad_profile_id",
        )
    if not is_profile_id(profile_id):
        raise RequestRefused(f"profile_id must be 1 to {MAX_TEXT} printable characters", "bad_profile_id")
    return profile_id


def batch_email(value: Any, batch: IncomingBatch) -> str | None:
    """The email at the top level. Beside a profile, an invalid one is only a warning."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise RequestRefused(f"email must be text, not {type_name(value)}", "bad_email")
    email = normal_email(value)
    if email is None:
        if batch.profile_id is None:
            raise RequestRefused('email is not an address: expected one like "ada@example.com"', "bad_email")
        batch.warnings.append("email is not an address: the entries stay with the profile")
    return email


def trait_email(traits: dict[str, Any], where: str, batch: IncomingBatch) -> str | None:
    """The email among an identify's traits. An invalid one is only a warning."""
    value = traits.get("email")
    if not isinstance(value, str) or not value:
        return None
    email = normal_email(value)
    if email is None:
        batch.warnings.append(f"{where}.traits.email is not an address: it names nobody".lstrip("."))
    elif batch.email is not None and email != batch.email:
        batch.warnings.append(
            f"{where}.traits.email differs from the batch's email, which decides".lstrip(".")
        )
    return email


def moment(value: Any, where: str, batch: IncomingBatch) -> int:
    """Milliseconds since 1970 from an ISO 8601 text, or from seconds or milliseconds as a number.

    Where it cannot be read or is not plausible, the time of arrival counts; one odd time does not refuse a batch.
    """
    try:
        at = parse_moment(value)
    except (TypeError, ValueError, OverflowError):
        expected = 'expected ISO 8601 in UTC, "2026-01-31T12:00:00.000Z"'
        batch.warnings.append(f"{where}.sent_at is not a time, {expected}: the time of arrival counts")
        return batch.received_at
    if 0 <= at <= batch.received_at + MAX_CLOCK_SKEW:
        return at
    batch.warnings.append(
        f"{where}.sent_at is not plausible (before 1970, or a day ahead): the time of arrival counts"
    )
    return batch.received_at


def parse_moment(value: Any) -> int:
    """Like `moment`, but raises TypeError, ValueError or OverflowError."""
    if isinstance(value, str):
        stated = datetime.fromisoformat(value)
        return round((stated if stated.tzinfo else stated.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, bool):
        raise TypeError
    return int(value * 1000 if abs(value) < _EPOCH_SECONDS else value)
