"""What arrived, as JSON: for scripts and for tests. The pages' login rules hold here, too.

`GET /api/entries?after=0&limit=500`  entries by arrival, each with whose it is now; `next` continues.
`GET /api/people?limit=500`           people, whoever was seen last first.
`GET /api/requests?limit=100`         the last requests as they came, refused and ignored ones included.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from koala_middleware.collector.receiving.batches import answer
from koala_middleware.collector.runtime import Collector
from koala_middleware.collector.store.records import Person, Shown
from koala_middleware.collector.times import iso

MOST = 1_000  # of anything in one answer


def entries(request: Request) -> Response:
    after = _number(request, "after", 0)
    with _collector(request).store.reader() as reader:
        found = reader.entries(after, _number(request, "limit", 500))
    return answer(
        {"entries": [as_json(entry) for entry in found], "next": found[-1].entry_no if found else after}
    )


def people(request: Request) -> Response:
    with _collector(request).store.reader() as reader:
        found = reader.people(_number(request, "limit", 500))
    return answer({"people": [_person(person) for person in found]})


def requests(request: Request) -> Response:
    with _collector(request).store.reader() as reader:
        found = reader.requests(_number(request, "limit", 100), ("taken", "refused", "ignored"))
    return answer({"requests": [{**row, "received_at": iso(row["received_at"])} for row in found]})


def as_json(entry: Shown) -> dict[str, Any]:
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


def _person(person: Person) -> dict[str, Any]:
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


def _collector(request: Request) -> Collector:
    collector: Collector = request.app.state.collector
    return collector


routes = [
    Route("/api/entries", entries),
    Route("/api/people", people),
    Route("/api/requests", requests),
]
