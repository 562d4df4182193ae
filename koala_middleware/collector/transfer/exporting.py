"""Taking what is stored elsewhere, and bringing it in: exports as CSV or JSON lines, imports of batches.

An export reads the database itself, beside a running collector. An import speaks the protocol to one, so what comes
in that way is checked like everything else, and coming twice counts once.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import orjson
import requests
from tqdm import tqdm

from koala_middleware.collector.receiving.batches import COME_AGAIN
from koala_middleware.collector.store.opening import open_store
from koala_middleware.collector.store.records import Person, Reader, Shown
from koala_middleware.collector.times import iso
from koala_middleware.collector.validation.batches import parsed
from koala_middleware.collector.validation.emails_and_domains import normal_domain
from koala_middleware.protocol.limits import ENTRIES_PER_KIND

AGENT = {"User-Agent": "koala-middleware-import/1.0", "Content-Type": "application/json"}
TIMEOUT = 30.0  # seconds for one request
PATIENCE = 300.0  # seconds for a line that the collector cannot take now
SHORTEST_PAUSE = 1.0  # seconds between two tries
_PEOPLE = ("key", "email", "first_seen", "last_seen", "profiles", "accounts", "traits")
_EVENTS = ("key", "kind", "event", "sent_at", "received_at", "profile_id", "email", "account", "body")
_ARRAYS = {"identify": "identifies", "track": "events", "page": "page_views"}
Row = dict[str, Any]


def export(database: str | Path, what: str, form: str, output: Path | None) -> int:
    """Write people, events or batches. Answers how many rows.

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


def _people(reader: Reader) -> Iterator[tuple[Row, int]]:
    return ((_person(person), 1) for person in reader.all_people())


def _person(person: Person) -> Row:
    seen = {"first_seen": person.first_seen, "last_seen": person.last_seen}
    return {
        "key": person.key,
        "email": person.email,
        **{name: None if moment is None else iso(moment) for name, moment in seen.items()},
        "profiles": person.profiles,
        "accounts": person.accounts,
        "traits": {trait.name: orjson.loads(trait.value) for trait in person.traits},
    }


def _events(reader: Reader) -> Iterator[tuple[Row, int]]:
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


def _batches(reader: Reader) -> Iterator[tuple[Row, int]]:
    """Entries as requests again: those that came together and are about the same, together."""
    for (_, path, *_), group in groupby(reader.all_entries(), key=_request_of):
        for entries in _requests(group):
            body = _subject(entries[0])
            for entry in entries:
                body.setdefault(_ARRAYS[entry.kind], []).append(_said(entry))
            yield {"path": path, "body": body}, len(entries)


def _request_of(entry: Shown) -> tuple[Any, ...]:
    of = "accounts/batch" if entry.handle else "batch"
    path = f"/web/projects/{entry.key}/{of}"
    return entry.request_no, path, entry.profile_id, entry.handle, entry.named, _named(entry)


def _named(entry: Shown) -> str | None:
    """Whom the entry's own request named, which may have been several people."""
    return entry.email if entry.named else None


def _requests(entries: Iterable[Shown]) -> Iterator[list[Shown]]:
    """Cut where one request may hold no more of a kind: its top-level traits are stored as an identify more."""
    some: list[Shown] = []
    for entry in entries:
        if sum(other.kind == entry.kind for other in some) == ENTRIES_PER_KIND:
            yield some
            some = []
        some.append(entry)
    yield some


def _said(entry: Shown) -> Row:
    """The entry as it came, with its time where it gave none that counted."""
    said: Row = orjson.loads(entry.body)
    if said.get("sent_at") is None or entry.sent_at == entry.received_at:
        said["sent_at"] = iso(entry.sent_at)
    return said


def _subject(entry: Shown) -> Row:
    if entry.handle:
        is_domain = normal_domain(entry.handle) == entry.handle
        return {"domain" if is_domain else "account_id": entry.handle}
    subject = {"profile_id": entry.profile_id, "email": _named(entry)}
    return {name: value for name, value in subject.items() if value}


def _lines(file: IO[str]) -> Callable[[Row], object]:
    return lambda row: file.write(orjson.dumps(row).decode() + "\n")


def _csv(file: IO[str], columns: Iterable[str]) -> Callable[[Row], object]:
    writer = csv.DictWriter(file, list(columns))
    writer.writeheader()
    return lambda row: writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> object:
    """A cell's text. A spreadsheet takes a leading =, +, - or @ for a formula; a quote before it keeps it text."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _opened(output: Path | None) -> IO[str]:
    return (
        output.open("w", encoding="utf-8", newline="")
        if output
        else open(sys.stdout.fileno(), "w", closefd=False)
    )


def bring_in(
    files: Iterable[Path], collector: str, key: str, pause: Callable[[float], object] = time.sleep
) -> tuple[int, int]:
    """Send batches from JSON lines to a collector. Answers how many were taken and how many refused.

    A line is a batch's body, or `{"path": "/web/projects/pk_…/batch", "body": {…}}`, or `{"key": …, "body": {…}}`.
    One that the collector cannot take now is sent again after a pause.
    """
    taken = refused = 0
    with requests.Session() as session:
        for file in files:
            with (
                file.open("rb") as lines,
                tqdm(total=file.stat().st_size, unit="B", unit_scale=True, file=sys.stderr) as bar,
            ):
                for number, line in enumerate(lines, 1):
                    bar.update(len(line))
                    if not line.strip():
                        continue
                    problem = _send(session, collector, key, line, pause)
                    taken, refused = taken + (problem is None), refused + (problem is not None)
                    if problem:
                        tqdm.write(f"{file}:{number}: {problem}", file=sys.stderr)
    return taken, refused


def _send(
    session: requests.Session, collector: str, key: str, line: bytes, pause: Callable[[float], object]
) -> str | None:
    """Why the line was not taken, or None."""
    try:
        row = parsed(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    if not isinstance(row, dict):
        return "not a JSON object"
    body = row.get("body", row)
    account = isinstance(body, dict) and ("domain" in body or "account_id" in body)
    path = row.get("path") or f"/web/projects/{row.get('key', key)}/{'accounts/' if account else ''}batch"
    data = body.encode() if isinstance(body, str) else orjson.dumps(body)
    answer = _answer(session, collector.rstrip("/") + path, data, pause)
    return None if answer.ok else f"{answer.status_code} {answer.text[:300]}"


def _answer(
    session: requests.Session, url: str, data: bytes, pause: Callable[[float], object]
) -> requests.Response:
    """The first answer that is not to come again, or the last one when patience ends."""
    waited = 0.0
    while True:
        answer = session.post(url, data=data, headers=AGENT, timeout=TIMEOUT)
        if answer.status_code not in COME_AGAIN or waited >= PATIENCE:
            return answer
        seconds = _retry_after(answer)
        pause(seconds)
        waited += seconds


def _retry_after(answer: requests.Response) -> float:
    """Seconds until the next try."""
    stated = answer.headers.get("Retry-After", "")
    return min(max(float(stated), SHORTEST_PAUSE), PATIENCE) if stated.isdecimal() else SHORTEST_PAUSE
