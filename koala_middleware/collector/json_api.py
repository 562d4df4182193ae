"""What arrived, as JSON for scripts and tests. The login rules of the pages apply.

`GET /api/entries?after=0&limit=500`  entries by arrival, each with its person; `next` is the next `after`.
`GET /api/people?limit=500`           people, ordered by last_seen, newest first.
`GET /api/requests?limit=100`         the last requests as they arrived, including refused and ignored ones.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from koala_middleware.collector.http import json_response
from koala_middleware.collector.runtime import collector_of
from koala_middleware.collector.store.records import StoredEntry, StoredPerson
from koala_middleware.collector.times import iso

MOST = 1_000  # of anything in one answer


def entries(request: Request) -> Response:
    after = _number(request, "after", 0)
    with collector_of(request).store.reader() as reader:
        found = reader.entries(after, _number(request, "limit", 500))
    return json_response(
        {"entries": [as_json(entry) for entry in found], "next": found[-1].entry_no if found else after}
    )


def people(request: Request) -> Response:
    with collector_of(request).store.reader() as reader:
        found = reader.people(_number(request, "limit", 500))
    return json_response({"people": [_person(person) for person in found]})


def requests(request: Request) -> Response:
    with collector_of(request).store.reader() as reader:
        found = reader.requests(_number(request, "limit", 100), ("taken", "refused", "ignored"))
    return json_response({"requests": [{**row, "received_at": iso(row["received_at"])} for row in found]})


def as_json(entry: StoredEntry) -> dict[str, Any]:
    return {
        "entry_no": entry.entry_no,
        "key": entry.key,
        "kind": entry.kind,
        "event": entry.name or None,
        "profile_id": entry.profile_id,
        "email": entry.email,
        "account": entry.handle,
        "sent_at": iso(entry.sent_at),
        "received_at": iso(entry.received_at),
        "request_no": entry.request_no,
        "body": orjson.loads(entry.body),
    }


def _person(person: StoredPerson) -> dict[str, Any]:
    return {
        "key": person.key,
        "email": person.email,
        "traits": {trait.name: orjson.loads(trait.value) for trait in person.traits},
        "profiles": person.profiles,
        "accounts": person.accounts,
        "first_seen": iso(person.first_seen) if person.first_seen is not None else None,
        "last_seen": iso(person.last_seen) if person.last_seen is not None else None,
    }


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, "")
    return (
        min(int(given[:19]), 2**62 if name == "after" else MOST)  # more digits are beyond both
        if given.isascii() and given.isdigit()
        else default
    )


routes = [
    Route("/api/entries", entries),
    Route("/api/people", people),
    Route("/api/requests", requests),
]
