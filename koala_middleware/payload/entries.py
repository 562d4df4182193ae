"""Encodes calls as entries, each alone, so that a bad one cannot spoil its neighbors.

The context of an entry (page, user agent, library) arrives as JSON. Must not know requests, or how an entry travels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from koala_middleware.payload import message_ids
from koala_middleware.payload.drafts import Call
from koala_middleware.payload.values.cleaner import Cleaner, plain
from koala_middleware.payload.values.sized_json import to_json
from koala_middleware.payload.values.truncation import ENTRY_BYTES, TRUNCATED
from koala_middleware.protocol.batches import Batch, Entry, EntryKind
from koala_middleware.protocol.encoding import json_text
from koala_middleware.protocol.formats import short_group_id, short_id
from koala_middleware.protocol.limits import MAX_TEXT
from koala_middleware.protocol.subjects import Account, Subject

_ORDER: Mapping[EntryKind, int] = {"identify": 0, "track": 1, "page": 2}
_NANOSECONDS = 1_000_000  # in a millisecond
_YEAR_1, _YEAR_9999 = (
    -62_135_596_800_000,
    253_402_300_799_999,
)  # the first and last millisecond of Python's dates
_CACHED_NAMES = 1_024
_LONGEST_CACHED_NAME = 64
_GROUP_IDS = ("group_id", "groupId")
_SHORT_GROUP_ID = 250  # characters, which are never too many bytes


def build_batch(
    subject: Subject, calls: Sequence[Call], context: str, clean: Cleaner, ip: str | None = None
) -> Batch:
    """Encodes the calls of one person or account: identifies first, then events, then page views.

    Args:
        context: The `context` of the entries, as a JSON object.
        ip: The visitor's address, if the site forwards it.
    """
    if len(calls) > 1:
        calls = sorted(calls, key=lambda call: _ORDER[call.kind])
    entries = tuple([build_entry(call, context, clean) for call in calls])
    return Batch(subject, entries, None if isinstance(subject, Account) else ip)


def build_entry(call: Call, context: str, clean: Cleaner) -> Entry:
    """Encodes one call in the protocol's shape, in at most `ENTRY_BYTES`.

    Fixes `message_id` (UUID v7, sorted by the time of the call) and `sent_at` once: retries repeat them, so the
    entry counts once.
    """
    milliseconds, rest = divmod(call.at, _NANOSECONDS)
    id_start, at = _id_start_and_timestamp(milliseconds)
    own_id = _given_id(call.message_id) or f'"{id_start}{message_ids.random_part(rest)}"'
    if call.context:
        context = json_text({**json.loads(context), **clean(call.context)})
    match call.kind:
        case "identify":
            traits, mark = _data_json(call.data, clean, _with_short_groups)
            text = f'{{"type":"identify","message_id":{own_id},"sent_at":"{at}","traits":{traits}{mark}}}'
        case "track":
            properties, mark = _data_json(call.data, clean)
            text = (
                f'{{"type":"track","event":{_event_name(call.name, clean)},"message_id":{own_id},'
                f'"sent_at":"{at}","properties":{properties},"context":{context}{mark}}}'
            )
        case "page":
            data = clean(call.data)
            mark = _pop_mark(data)
            page = json_text(_page(call.name, data, context, clean))
            text = f'{{"message_id":{own_id},"page":{page},"visit_start":"{at}","context":{context}{mark}}}'
    body = text.encode()
    return Entry(call.kind, body if len(body) <= ENTRY_BYTES else to_json(json.loads(body)))


def _given_id(message_id: str | None) -> str | None:
    """The caller's own id as JSON; None if it is blank."""
    return json_text(plain(short_id(message_id))) if message_id and message_id.strip() else None


def _data_json(
    data: dict[str, Any], clean: Cleaner, limit: Callable[[Any], Any] | None = None
) -> tuple[str, str]:
    """A call's traits or properties as JSON, and the mark if some were left out.

    Args:
        limit: Shortens data with long texts.
    """
    text = clean.flat_json(data)
    if text is not None:
        return text, ""
    cleaned = clean(data if limit is None else limit(data))
    mark = _pop_mark(cleaned)
    return json_text(cleaned), mark


def _with_short_groups(traits: Any) -> Any:
    """The traits with group ids that the endpoint takes, of the account itself or of a person's `$account`."""
    account = traits.get("$account")
    if isinstance(account, dict) and _has_long_group(account):
        traits = {**traits, "$account": _with_short_groups(account)}
    if not _has_long_group(traits):
        return traits
    groups = {key: traits[key] for key in _GROUP_IDS if isinstance(traits.get(key), str)}
    return {**traits, **{key: short_group_id(group) for key, group in groups.items()}}


def _has_long_group(traits: dict[Any, Any]) -> bool:
    for key in _GROUP_IDS:
        group = traits.get(key)
        if isinstance(group, str) and len(group) > _SHORT_GROUP_ID:
            return True
    return False


def _pop_mark(data: dict[str, Any]) -> str:
    """Moves the mark for truncated data from the data to the entry itself."""
    if data.get(TRUNCATED) is not True:
        return ""
    del data[TRUNCATED]
    return f',"{TRUNCATED}":true'


def _page(title: object, data: Mapping[str, Any], context: str, clean: Cleaner) -> dict[str, Any]:
    """The request's page, updated with what the call gives."""
    page = {**json.loads(context).get("page", {}), **data}
    return page if title is None else {**page, "title": clean(title)}


def _event_name(name: object, clean: Cleaner) -> str:
    if type(name) is str and len(name) <= _LONGEST_CACHED_NAME:
        return _cached_event_name(name, clean)
    return _event_name_json(name, clean)


@lru_cache(maxsize=_CACHED_NAMES)  # 2 µs an event, a tenth
def _cached_event_name(name: str, clean: Cleaner) -> str:
    return _event_name_json(name, clean)


def _event_name_json(name: object, clean: Cleaner) -> str:
    return json_text(str(clean(name)).replace("\0", "")[:MAX_TEXT])


def context_json(*members: str) -> str:
    """The `context` of entries, with the library as its last member.

    Args:
        members: The other members as JSON, each followed by a comma.
    """
    return f"{{{''.join(members)}{_library_member()}}}"


def error_member(status: int | None) -> str:
    """The member for a response that failed; empty for None."""
    return "" if status is None else f'"error":{{"status":{status}}},'


@cache
def _library_member() -> str:
    """Name and version of this package. Looked up when a client is made, since it takes 6 ms."""
    from importlib.metadata import version  # noqa: PLC0415  (see above)

    return f'"library":{json_text({"name": "koala_middleware", "version": version("koala-middleware")})}'


@lru_cache(maxsize=16)  # a twentieth of an event in bulk, where a millisecond holds many
def _id_start_and_timestamp(milliseconds: int) -> tuple[str, str]:
    return message_ids.time_part(milliseconds), timestamp(milliseconds)


def timestamp(milliseconds: int) -> str:
    """ISO 8601 in UTC: `2022-11-09T23:57:14.776Z`. Times outside the years 1 to 9999 count as their edges."""
    milliseconds = min(max(milliseconds, _YEAR_1), _YEAR_9999)
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{_whole_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=16)  # 1 µs an entry, a twentieth
def _whole_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
