"""The entries of a batch: identifies, events and page views, checked one by one.

Lenient where real clients differ: unknown fields are kept. Must not know HTTP, people or storage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import orjson

from koala_middleware.collector.validation.checked import IncomingBatch, IncomingEntry, Kind
from koala_middleware.collector.validation.fields import (
    moment,
    object_field,
    shortened,
    text_field,
    trait_email,
)
from koala_middleware.collector.validation.json_object import type_name
from koala_middleware.collector.validation.refusal import RequestRefused
from koala_middleware.protocol.limits import (
    ENTRIES_PER_KIND,
    MAX_NAME_BYTES,
    MAX_TEXT,
    MAX_TRAITS,
    MAX_TRAITS_BYTES,
)

ARRAYS: Mapping[str, Kind] = {"identifies": "identify", "events": "track", "page_views": "page"}
_UUID_LENGTH, _UUID_BYTES = 36, 16


def parse_entries(body: dict[str, Any], array: str, batch: IncomingBatch) -> Iterator[IncomingEntry]:
    """The entries of one array. Raises RequestRefused."""
    items = body.get(array)
    if items is None:
        return
    if not isinstance(items, list):
        raise RequestRefused(f"{array} must be an array, not {type_name(items)}", "bad_entries")
    if len(items) > ENTRIES_PER_KIND:
        raise RequestRefused(
            f"{array} holds {len(items)} entries; one request takes at most {ENTRIES_PER_KIND} of each kind",
            "too_many_entries",
        )
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise RequestRefused(f"{array}[{index}] must be an object, not {type_name(item)}", "bad_entry")
        yield _entry(item, ARRAYS[array], f"{array}[{index}]", index, batch)


def _entry(item: dict[str, Any], kind: Kind, where: str, index: int, batch: IncomingBatch) -> IncomingEntry:
    name = _NAMES[kind](item, where, batch)
    traits = _traits(item, where, batch) if kind == "identify" else {}
    object_field(item, "properties", where)
    object_field(item, "context", where)
    stated = item.get("sent_at")
    if stated is None:
        stated = item.get("visit_start")
    sent_at = batch.received_at if stated is None else moment(stated, where, batch)
    body = orjson.dumps(item)
    given = text_field(item, "message_id", where)
    repeatable_at = sent_at if kind == "identify" and stated is not None else None
    message_id = _message_id(given, body, index, repeatable_at, batch)
    email = trait_email(traits, where, batch) if kind == "identify" else None
    is_snapshot = kind == "identify" and item.get("snapshot") is True and batch.profile_id is not None
    return IncomingEntry(kind, name, sent_at, message_id, body, traits, email, is_snapshot)


def _event_name(item: dict[str, Any], where: str, batch: IncomingBatch) -> str:
    name = text_field(item, "event", where)
    if name is None or item["event"] == "":
        expected = 'expected the event\'s name, like "Signed Up"'
        raise RequestRefused(f"{where}.event is missing: {expected}", "no_event_name")
    return shortened(name, f"{where}.event", batch) or "(blank)"


def _page_name(item: dict[str, Any], where: str, batch: IncomingBatch) -> str:  # noqa: ARG001  (one shape for three)
    page = object_field(item, "page", where)
    name = next((page[part] for part in ("path", "url", "title") if isinstance(page.get(part), str)), "")
    return name[:MAX_TEXT].replace("\0", "")


_NAMES = {"identify": lambda item, where, batch: "", "track": _event_name, "page": _page_name}  # noqa: ARG005  (one shape for three)


def _traits(item: dict[str, Any], where: str, batch: IncomingBatch) -> dict[str, Any]:
    """The traits that count: the first MAX_TRAITS whose names a database can hold. The body keeps all."""
    traits = object_field(item, "traits", where)
    label = f"{where}.traits".lstrip(".")
    if len(traits) > MAX_TRAITS_BYTES // 8 or len(orjson.dumps(traits)) > MAX_TRAITS_BYTES:
        raise RequestRefused(f"{label} is larger than {MAX_TRAITS_BYTES // 1024} KiB", "bad_traits", 413)
    account = traits.get("$account")
    counting = _counting(traits, label, batch)
    if isinstance(account, dict):
        counting["$account"] = _counting(account, f"{label}.$account", batch)
    return counting


def _counting(traits: dict[str, Any], label: str, batch: IncomingBatch) -> dict[str, Any]:
    counting = [name for name in traits if len(name.encode()) <= MAX_NAME_BYTES][:MAX_TRAITS]
    if len(counting) == len(traits):
        return dict(traits)
    batch.warnings.append(
        f"{label} holds {len(traits)} traits; the first {MAX_TRAITS} with names of at most {MAX_NAME_BYTES} bytes count"
    )
    return {name: traits[name] for name in counting}


def group_of(account: Mapping[str, Any]) -> str:
    """An account's workspace, where one domain has several; empty for the account as a whole."""
    group = account.get("group_id", account.get("groupId"))
    text = str(group) if isinstance(group, str | int) else ""
    return text.encode()[:MAX_NAME_BYTES].decode(errors="ignore")


def add_top_level_identify(body: dict[str, Any], batch: IncomingBatch) -> None:
    """Turn top-level traits, and a bare `{profile_id, email}`, into an identify.

    It has no time of its own: it counts from the batch's newest entry, or else from its arrival. A browser's traits
    there are a snapshot of its cache, marked as such so that an export brings it back as one.
    """
    traits = _traits(body, "", batch)
    if not batch.entries and not traits and batch.email is None:
        batch.warnings.append("holds no entries: nothing was recorded")
        return
    if not traits and batch.entries:
        return
    times = [entry.sent_at for entry in batch.entries]
    is_snapshot = bool(traits) and batch.profile_id is not None
    mark = {"snapshot": True} if is_snapshot else {}
    content = orjson.dumps({"type": "identify", **mark, "traits": traits})
    sent_at = max(times, default=batch.received_at)
    # Within its millisecond, what it repeats comes first: version 7 ids begin with smaller bytes.
    message_id = b"\xff" + _message_id(None, content, len(times), sent_at, batch)[1:]
    email = trait_email(traits, "", batch)
    batch.entries.append(
        IncomingEntry("identify", "", sent_at, message_id, content, traits, email, is_snapshot)
    )


def _message_id(
    given: str | None, body: bytes, index: int, repeatable_at: int | None, batch: IncomingBatch
) -> bytes:
    """16 bytes that recognize a repeat: from the sender's id, or from the content of an identify without one.

    An event without an id counts each time it arrives, since two equal events may both have happened. So does an
    identify without a time. `repeatable_at`: the time of an identify that has one.
    """
    if given:
        return _uuid_bytes(given) or blake2b(given.encode(), digest_size=_UUID_BYTES).digest()
    if repeatable_at is not None:
        about = (batch.key, batch.profile_id or "", batch.email or "", batch.handle or "", str(repeatable_at))
        return blake2b("\0".join(about).encode() + body, digest_size=_UUID_BYTES).digest()
    return batch.received_at.to_bytes(6, "big") + index.to_bytes(2, "big") + os.urandom(8)


def _uuid_bytes(text: str) -> bytes | None:
    if len(text) != _UUID_LENGTH:
        return None
    try:
        value = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return value if len(value) == _UUID_BYTES else None
