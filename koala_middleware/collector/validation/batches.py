"""Bodies that arrive, checked and taken apart: bytes in, one Batch out, or one clear refusal.

Strict where it protects (sizes, depth, ids that would merge strangers), lenient where real clients differ:
unknown fields are kept, odd ones are flagged. Must not know HTTP, people or storage.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal

import orjson

from koala_middleware.collector.validation.emails_and_domains import normal_domain, normal_email
from koala_middleware.protocol.limits import ENTRIES_PER_KIND

Kind = Literal["identify", "track", "page"]

DEEPEST = 32  # levels of nesting; the guide's own examples need 4
LONGEST_NAME = 500  # characters of an event's name, a profile_id, a message_id
LONGEST_KEY = 1_000  # bytes of a trait's name, a group id; PostgreSQL takes 2,700 for both in one index
AHEAD = 24 * 60 * 60 * 1000  # ms a sender's clock may be ahead before its time is not believed
# What broken front ends send for "nothing". Taken at face value, each would make strangers one visitor.
_NOBODY = frozenset({"null", "undefined", "none", "nan", "[object object]", "0", "false", "true"})
_NIL = "00000000-0000-0000-0000-000000000000"
_UUID_LENGTH = 36
_EPOCH_SECONDS = 10_000_000_000  # a number below is seconds (until the year 2286), above it milliseconds
# JSON as far as surrogates come in pairs, or an escape that is half of one.
_SURROGATE = rb"\\u[dD][89a-fA-F][\da-fA-F]{2}"
_PAIR = rb"\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
_WHOLE_OR_HALF = re.compile(rb"((?:[^\\]++|\\[^u]|(?!%b)\\u|%b)++)|%b" % (_SURROGATE, _PAIR, _SURROGATE))
_ARRAYS: Mapping[str, Kind] = {"identifies": "identify", "events": "track", "page_views": "page"}


class Refused(Exception):  # noqa: N818  (what happens to the request; "RefusedError" says no more)
    """The request is refused. `message` names the field, what was found and what is expected."""

    def __init__(self, message: str, code: str = "invalid", status: int = 400) -> None:
        super().__init__(message)
        self.message, self.code, self.status = message, code, status


@dataclass(slots=True)
class Entry:
    """One identify, event or page view.

    Attributes:
        name: The event's name, the page's path; empty for an identify.
        sent_at: When it happened, milliseconds since 1970, UTC.
        message_id: 16 bytes; orders entries of one millisecond, and recognises a replay.
        body: The entry as it came, one JSON object, unknown fields included.
        traits: An identify's traits.
        email: Whom an identify's own traits name.
    """

    kind: Kind
    name: str
    sent_at: int
    message_id: bytes
    body: bytes
    traits: dict[str, Any] = field(default_factory=dict)
    email: str | None = None


@dataclass(slots=True)
class Batch:
    """One person's or one company's entries, as one request brought them.

    Attributes:
        handle: What an account is known by: its domain, or else its account_id. None in a person's batch.
        flags: What was odd but taken, in words, for whoever looks at the request.
    """

    key: str
    received_at: int
    profile_id: str | None = None
    email: str | None = None
    handle: str | None = None
    entries: list[Entry] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


def read_person_batch(key: str, raw: bytes, now: int) -> Batch:
    """A batch from `POST /web/projects/{key}/batch`. `now`: milliseconds since 1970. Raises Refused."""
    return _person_batch(key, read_object(raw), now)


def read_account_batch(key: str, raw: bytes, now: int) -> Batch:
    """A batch from `POST /web/projects/{key}/accounts/batch`. Raises Refused."""
    return _account_batch(key, read_object(raw), now)


def read_line(key: str, raw: bytes, now: int) -> Batch:
    """One line of a bulk: a person's batch, or a company's where it names no person. Raises Refused."""
    body = read_object(raw)
    names_nobody = not (body.get("profile_id") or body.get("email"))
    if names_nobody and (body.get("domain") or body.get("account_id")):
        return _account_batch(key, body, now)
    return _person_batch(key, body, now)


def _person_batch(key: str, body: dict[str, Any], now: int) -> Batch:
    batch = Batch(key, now, profile_id=read_profile_id(body.get("profile_id")))
    batch.email = _batch_email(body.get("email"), batch)
    if batch.profile_id is None and batch.email is None:
        raise Refused("profile_id or email is required: whom is this batch about?", "no_person")
    for array, kind in _ARRAYS.items():
        batch.entries.extend(_entries(body, array, kind, batch))
    _add_link(body, batch)
    return batch


def _account_batch(key: str, body: dict[str, Any], now: int) -> Batch:
    domain = _text(body, "domain")
    if domain is not None and (domain := normal_domain(domain)) is None:
        raise Refused('domain is not a domain name: expected one like "example.com"', "bad_domain")
    handle = domain or _text(body, "account_id")
    if not handle:
        raise Refused("domain or account_id is required: which company is this batch about?", "no_account")
    batch = Batch(key, now, handle=handle)
    for array in ("identifies", "events"):
        batch.entries.extend(_entries(body, array, _ARRAYS[array], batch))
    return batch


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body, not nested deeper than DEEPEST. Raises Refused."""
    try:
        body = parsed(raw)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(f"The body is not JSON: {error.msg} ({where})", "not_json") from None
    if not isinstance(body, dict):
        raise Refused(f"The body must be a JSON object, not {_type(body)}", "not_an_object")
    _check_depth(body)
    return body


def parsed(raw: bytes) -> Any:
    """The value that JSON stands for. Raises orjson.JSONDecodeError.

    Browsers say a text that was cut within an emoji with half a surrogate pair; it ends in U+FFFD then.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return orjson.loads(_WHOLE_OR_HALF.sub(lambda found: found[1] or rb"\ufffd", raw))


def _check_depth(body: dict[str, Any]) -> None:
    level: list[Any] = [body]
    for _ in range(DEEPEST):
        level = [child for node in level for child in _children(node) if child.__class__ in (dict, list)]
        if not level:
            return
    raise Refused(f"The body is nested deeper than {DEEPEST} levels", "too_deep")


def _children(node: Any) -> Any:
    return node.values() if node.__class__ is dict else node


def _entries(body: dict[str, Any], array: str, kind: Kind, batch: Batch) -> Iterator[Entry]:
    items = body.get(array)
    if items is None:
        return
    if not isinstance(items, list):
        raise Refused(f"{array} must be an array, not {_type(items)}", "bad_entries")
    if len(items) > ENTRIES_PER_KIND:
        raise Refused(
            f"{array} holds {len(items)} entries; one request takes at most {ENTRIES_PER_KIND} of each kind",
            "too_many_entries",
        )
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise Refused(f"{array}[{index}] must be an object, not {_type(item)}", "bad_entry")
        yield _entry(item, kind, f"{array}[{index}]", index, batch)


def _entry(item: dict[str, Any], kind: Kind, where: str, index: int, batch: Batch) -> Entry:
    name = _NAMES[kind](item, where)
    traits = _traits(item, where, batch) if kind == "identify" else {}
    _mapping(item, "properties", where)
    _mapping(item, "context", where)
    stated = item.get("sent_at")
    if stated is None:
        stated = item.get("visit_start")
    sent_at = batch.received_at if stated is None else _moment(stated, where, batch)
    body = orjson.dumps(item)
    given = _text(item, "message_id", where)
    recognised = sent_at if kind == "identify" and stated is not None else None
    message_id = _message_id(given, body, index, recognised, batch)
    email = _trait_email(traits, where, batch) if kind == "identify" else None
    return Entry(kind, name, sent_at, message_id, body, traits, email)


def _traits(item: dict[str, Any], where: str, batch: Batch) -> dict[str, Any]:
    traits = _mapping(item, "traits", where)
    account = traits if batch.handle else traits.get("$account")
    company = [*account, group_of(account)] if isinstance(account, dict) else []
    longest = max((len(key.encode()) for key in (*traits, *company)), default=0)
    if longest > LONGEST_KEY:
        label = f"{where}.traits".lstrip(".")
        raise Refused(
            f"{label} holds a name or a group_id of {longest} bytes; at most {LONGEST_KEY} are taken",
            "bad_traits",
        )
    return traits


def group_of(account: Mapping[str, Any]) -> str:
    """An account's workspace, where one domain has several; empty for the company as a whole."""
    group = account.get("group_id", account.get("groupId"))
    return str(group) if isinstance(group, str | int) else ""


def _event_name(item: dict[str, Any], where: str) -> str:
    name = _text(item, "event", where)
    if not name:
        raise Refused(
            f'{where}.event is missing: expected the event\'s name, like "Signed Up"', "no_event_name"
        )
    return name


def _page_name(item: dict[str, Any], where: str) -> str:
    page = _mapping(item, "page", where)
    name = next((page[part] for part in ("path", "url", "title") if isinstance(page.get(part), str)), "")
    return name[:LONGEST_NAME].replace("\0", "")


_NAMES = {"identify": lambda item, where: "", "track": _event_name, "page": _page_name}  # noqa: ARG005  (one shape for three)


def _add_link(body: dict[str, Any], batch: Batch) -> None:
    """Top-level traits, and a bare `{profile_id, email}`, become an identify of their own.

    They carry no time: the newest entry beside them tells it, or else the arrival.
    """
    traits = _traits(body, "", batch)
    if not batch.entries and not traits and batch.email is None:
        batch.flags.append("holds no entries: nothing was recorded")
        return
    if not traits and batch.entries:
        return
    times = [entry.sent_at for entry in batch.entries]
    content = orjson.dumps({"type": "identify", "traits": traits})
    sent_at = max(times, default=batch.received_at)
    message_id = _message_id(None, content, len(times), sent_at, batch)
    email = _trait_email(traits, "", batch)
    batch.entries.append(Entry("identify", "", sent_at, message_id, content, traits, email))


def _message_id(given: str | None, body: bytes, index: int, stated: int | None, batch: Batch) -> bytes:
    """16 bytes that recognise a replay: the sender's id; for an identify without one, its content.

    An event without one counts each time it comes: two equal events may both have happened. So does an identify
    without a time. `stated`: an identify's time.
    """
    if given:
        return _uuid_bytes(given) or blake2b(given.encode(), digest_size=16).digest()
    if stated is not None:
        said = (batch.key, batch.profile_id or "", batch.email or "", batch.handle or "", str(stated))
        return blake2b("\0".join(said).encode() + body, digest_size=16).digest()
    return batch.received_at.to_bytes(6, "big") + index.to_bytes(2, "big") + os.urandom(8)


def _uuid_bytes(text: str) -> bytes | None:
    if len(text) != _UUID_LENGTH:
        return None
    try:
        value = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return value if len(value) == 16 else None  # noqa: PLR2004  (a UUID's bytes)


def _moment(value: Any, where: str, batch: Batch) -> int:
    """Milliseconds since 1970 of an ISO 8601 text, or of seconds or milliseconds as a number."""
    try:
        at = _milliseconds(value)
    except (TypeError, ValueError, OverflowError):
        raise Refused(
            f'{where}.sent_at is not a time: expected ISO 8601 in UTC, "2026-01-31T12:00:00.000Z"', "bad_time"
        ) from None
    if 0 <= at <= batch.received_at + AHEAD:
        return at
    batch.flags.append(f"{where}.sent_at is not believable (before 1970, or a day ahead): its arrival counts")
    return batch.received_at


def _milliseconds(value: Any) -> int:
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, bool):
        raise TypeError
    return int(value * 1000 if abs(value) < _EPOCH_SECONDS else value)


def read_profile_id(value: Any) -> str | None:
    """The id without blanks around it; None where none is given. Raises Refused."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Refused(f"profile_id must be text, not {_type(value)}", "bad_profile_id")
    profile_id = value.strip()
    if profile_id.lower() in _NOBODY or profile_id == _NIL:
        raise Refused(
            f"profile_id is {value!r}, which would make all such visitors one: expected the ko_id cookie's value",
            "bad_profile_id",
        )
    if not profile_id or len(profile_id) > LONGEST_NAME or not profile_id.isprintable():
        raise Refused("profile_id must be 1 to 500 printable characters", "bad_profile_id")
    return profile_id


def _batch_email(value: Any, batch: Batch) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Refused(f"email must be text, not {_type(value)}", "bad_email")
    email = normal_email(value)
    if email is None:
        if batch.profile_id is None:
            raise Refused('email is not an address: expected one like "ada@example.com"', "bad_email")
        batch.flags.append("email is not an address: the entries stay with the profile")
    return email


def _trait_email(traits: dict[str, Any], where: str, batch: Batch) -> str | None:
    value = traits.get("email")
    if not isinstance(value, str) or not value:
        return None
    email = normal_email(value)
    if email is None:
        batch.flags.append(f"{where}.traits.email is not an address: it names nobody".lstrip("."))
    elif batch.email is not None and email != batch.email:
        batch.flags.append(f"{where}.traits.email differs from the batch's email, which decides".lstrip("."))
    return email


def _text(item: dict[str, Any], name: str, where: str = "") -> str | None:
    value = item.get(name)
    if value is None:
        return None
    label = f"{where}.{name}".lstrip(".")
    if not isinstance(value, str):
        raise Refused(f"{label} must be text, not {_type(value)}", f"bad_{name}")
    if len(value) > LONGEST_NAME or "\0" in value:
        raise Refused(f"{label} must be at most {LONGEST_NAME} characters, without NUL", f"bad_{name}")
    return value.strip()


def _mapping(item: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = item.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(
            f"{where}.{name}".lstrip(".") + f" must be an object, not {_type(value)}", f"bad_{name}"
        )
    return value


def _type(value: Any) -> str:
    """A JSON value's type in JSON's own words."""
    if value is None:
        return "null"
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "something else")
