"""Entries: each call in the protocol's shape, cleaned and encoded alone, so that none can spoil another.

What stands around a call (its page, its agent, who sends) comes in JSON already. Must not know requests, nor how an
entry travels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from koala_middleware.payload import message_ids
from koala_middleware.payload.drafts import Call
from koala_middleware.payload.values import Clean, plain, to_json
from koala_middleware.payload.values.fitting import ENTRY_BYTES, TRUNCATED
from koala_middleware.protocol.batches import Batch, Entry, EntryKind
from koala_middleware.protocol.encoding import json_text
from koala_middleware.protocol.subjects import Account, Subject

_ORDER: Mapping[EntryKind, int] = {"identify": 0, "track": 1, "page": 2}
_NANOSECONDS = 1_000_000  # in a millisecond
_REMEMBERED_NAMES = 1_024
_LONGEST_REMEMBERED_NAME = 64


def batch_of(
    subject: Subject, calls: Sequence[Call], context: str, clean: Clean, ip: str | None = None
) -> Batch:
    """What one person or company did, as it goes over the wire: identifies first, then events, then page views.

    Args:
        context: What is known around each call, as a JSON object.
        ip: The visitor's address, only where the site forwards it.
    """
    if len(calls) > 1:
        calls = sorted(calls, key=lambda call: _ORDER[call.kind])
    entries = tuple([entry(call, context, clean) for call in calls])
    return Batch(subject, entries, None if isinstance(subject, Account) else ip)


def entry(call: Call, context: str, clean: Clean) -> Entry:
    """One call in the protocol's shape, in at most 32 KiB.

    The message id (UUID v7, so that it sorts by the time of the call) and `sent_at` are fixed here, once, before
    anything is sent: a retry repeats them, and is counted once.
    """
    milliseconds, rest = divmod(call.at, _NANOSECONDS)
    id_begins, at = _moment(milliseconds)
    own_id = json_text(plain(call.message_id)) if call.message_id else f'"{id_begins}{message_ids.end(rest)}"'
    if call.context:
        context = json_text({**json.loads(context), **clean(call.context)})
    match call.kind:
        case "identify":
            traits, mark = _said(call.data, clean)
            text = f'{{"type":"identify","message_id":{own_id},"sent_at":"{at}","traits":{traits}{mark}}}'
        case "track":
            properties, mark = _said(call.data, clean)
            text = (
                f'{{"type":"track","event":{_name(call.name, clean)},"message_id":{own_id},"sent_at":"{at}",'
                f'"properties":{properties},"context":{context}{mark}}}'
            )
        case "page":
            data = clean(call.data)
            mark = _taken_mark(data)
            page = json_text(_page(call.name, data, context, clean))
            text = f'{{"message_id":{own_id},"page":{page},"visit_start":"{at}","context":{context}{mark}}}'
    body = text.encode()
    return Entry(call.kind, body if len(body) <= ENTRY_BYTES else to_json(json.loads(body)))


def _said(data: object, clean: Clean) -> tuple[str, str]:
    """A call's data in JSON, and the mark."""
    text = clean.flat(data)
    if text is not None:
        return text, ""
    said = clean(data)
    mark = _taken_mark(said)
    return json_text(said), mark


def _taken_mark(data: dict[str, Any]) -> str:
    """What says that some of the data was left out stands in the entry, beside what says that its texts were cut."""
    if data.get(TRUNCATED) is not True:
        return ""
    del data[TRUNCATED]
    return f',"{TRUNCATED}":true'


def _page(title: object, data: Mapping[str, Any], context: str, clean: Clean) -> dict[str, Any]:
    """The page that the request tells of, with what the call says of it."""
    page = {**json.loads(context).get("page", {}), **data}
    return page if title is None else {**page, "title": clean(title)}


def _name(name: object, clean: Clean) -> str:
    if type(name) is str and len(name) <= _LONGEST_REMEMBERED_NAME:
        return _known_name(name, clean)
    return json_text(clean(name))


@lru_cache(maxsize=_REMEMBERED_NAMES)
def _known_name(name: str, clean: Clean) -> str:
    """An event's name in JSON. An app says the same few: remembering them is worth 2 µs an event, a tenth."""
    return json_text(clean(name))


def context_of(*told: str) -> str:
    """What is known around a call, as a JSON object: members in JSON, each with a comma behind it, and who sends."""
    return f"{{{''.join(told)}{library()}}}"


def failure(status: int | None) -> str:
    """That the response was an error, as such a member; empty for none."""
    return "" if status is None else f'"error":{{"status":{status}}},'


@cache
def library() -> str:
    """Who sends, as the last member of an entry's context. Looked up when a client is made: that costs 6 ms."""
    from importlib.metadata import version  # noqa: PLC0415  (see above)

    return f'"library":{json_text({"name": "koala_middleware", "version": version("koala-middleware")})}'


@lru_cache(maxsize=16)  # worth a twentieth of an event in bulk, where calls come by the dozen a millisecond
def _moment(milliseconds: int) -> tuple[str, str]:
    """How a call's message id begins, and when the call was."""
    return message_ids.beginning(milliseconds), timestamp(milliseconds)


def timestamp(milliseconds: int) -> str:
    """`2022-11-09T23:57:14.776Z`: ISO 8601, UTC."""
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=16)  # worth 1 µs an entry, a twentieth
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
