"""Exports: people and events as CSV or JSON lines, and batches that can be imported again.

Reads the database beside a running collector. Must not know SQL or HTTP.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import orjson
from tqdm import tqdm

from koala_middleware.collector.store.contract import Reader
from koala_middleware.collector.store.opening import open_store
from koala_middleware.collector.store.records import StoredEntry, StoredPerson
from koala_middleware.collector.times import iso
from koala_middleware.collector.validation.emails_and_domains import normal_domain
from koala_middleware.protocol.limits import ENTRIES_PER_KIND

_PEOPLE = ("key", "email", "first_seen", "last_seen", "profiles", "accounts", "traits")
_EVENTS = ("key", "kind", "event", "sent_at", "received_at", "profile_id", "email", "account", "body")
_ARRAYS = {"identify": "identifies", "track": "events", "page": "page_views"}
EntryRow = dict[str, Any]


def export(database: str | Path, what: str, form: str, output: Path | None) -> int:
    """Write people, events or batches. Returns how many rows.

    Args:
        what: `"people"`, `"events"`, or `"batches"`: requests that `import` takes.
        form: `"jsonl"` or `"csv"`; batches are JSON lines.
        output: A file; None is stdout.
    """
    store = open_store(database)
    with store.reader() as reader:
        totals = reader.totals()
        rows = {"people": _people, "events": _events, "batches": _batches}[what](reader)
        total = totals.people if what == "people" else totals.entries
        with (
            _opened(output) as file,
            tqdm(total=total, unit=f" {what}", unit_scale=True, file=sys.stderr) as bar,
        ):
            write = _csv(file, _PEOPLE if what == "people" else _EVENTS) if form == "csv" else _lines(file)
            count = 0
            for row, weight in rows:
                write(row)
                bar.update(weight)
                count += 1
    store.close()
    return count


def _people(reader: Reader) -> Iterator[tuple[EntryRow, int]]:
    return ((_person(person), 1) for person in reader.all_people())


def _person(person: StoredPerson) -> EntryRow:
    seen = {"first_seen": person.first_seen, "last_seen": person.last_seen}
    return {
        "key": person.key,
        "email": person.email,
        **{name: None if moment is None else iso(moment) for name, moment in seen.items()},
        "profiles": person.profiles,
        "accounts": person.accounts,
        "traits": {trait.name: orjson.loads(trait.value) for trait in person.traits},
    }


def _events(reader: Reader) -> Iterator[tuple[EntryRow, int]]:
    for entry in reader.all_entries():
        row = {
            "key": entry.key,
            "kind": entry.kind,
            "event": entry.name or None,
            "sent_at": iso(entry.sent_at),
            "received_at": iso(entry.received_at),
            "profile_id": entry.profile_id,
            "email": entry.email,
            "account": entry.handle,
            "body": orjson.loads(entry.body),
        }
        yield row, 1


def _batches(reader: Reader) -> Iterator[tuple[EntryRow, int]]:
    """Entries as requests again: together where they arrived together and have the same subject."""
    for (_, path, *_), group in groupby(reader.all_entries(), key=_request_of):
        for entries in _requests(group):
            body = _subject(entries[0])
            for entry in entries:
                body.setdefault(_ARRAYS[entry.kind], []).append(_said(entry))
            yield {"path": path, "body": body}, len(entries)


def _request_of(entry: StoredEntry) -> tuple[Any, ...]:
    of = "accounts/batch" if entry.handle else "batch"
    path = f"/web/projects/{entry.key}/{of}"
    return entry.request_no, path, entry.profile_id, entry.handle, entry.named, _named(entry)


def _named(entry: StoredEntry) -> str | None:
    """The person that the entry's own request named. One request may name several."""
    return entry.email if entry.named else None


def _requests(entries: Iterable[StoredEntry]) -> Iterator[list[StoredEntry]]:
    """Split where a request may hold no more of a kind: top-level traits were stored as one more identify."""
    some: list[StoredEntry] = []
    for entry in entries:
        if sum(other.kind == entry.kind for other in some) == ENTRIES_PER_KIND:
            yield some
            some = []
        some.append(entry)
    yield some


def _said(entry: StoredEntry) -> EntryRow:
    """The entry as it arrived, with a time where it had none that counted."""
    said: EntryRow = orjson.loads(entry.body)
    if said.get("sent_at") is None or entry.sent_at == entry.received_at:
        said["sent_at"] = iso(entry.sent_at)
    return said


def _subject(entry: StoredEntry) -> EntryRow:
    if entry.handle:
        is_domain = normal_domain(entry.handle) == entry.handle
        return {"domain" if is_domain else "account_id": entry.handle}
    subject = {"profile_id": entry.profile_id, "email": _named(entry)}
    return {name: value for name, value in subject.items() if value}


def _lines(file: IO[str]) -> Callable[[EntryRow], object]:
    return lambda row: file.write(orjson.dumps(row).decode() + "\n")


def _csv(file: IO[str], columns: Iterable[str]) -> Callable[[EntryRow], object]:
    writer = csv.DictWriter(file, list(columns))
    writer.writeheader()
    return lambda row: writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> object:
    """A cell's text. A spreadsheet reads a leading =, +, - or @ as a formula; a quote before it prevents that."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _opened(output: Path | None) -> IO[str]:
    """A new file only its owner may read."""
    if output is None:
        return open(sys.stdout.fileno(), "w", closefd=False)
    return open(output, "w", encoding="utf-8", newline="", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
