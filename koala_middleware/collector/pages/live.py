"""The live page: what arrives, newest first, by server-sent events.

A page asks the store a few times a second for what is newer than what it shows, and only when something was written.
So a flood costs no more than a trickle, and writing never waits for a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from koala_middleware.collector.identity import END
from koala_middleware.collector.pages.rendering import COMPRESSED, page, render
from koala_middleware.collector.pages.views import number_in
from koala_middleware.collector.runtime import Collector, collector_of
from koala_middleware.collector.store.contract import Reader
from koala_middleware.collector.store.errors import DatabaseUnavailable
from koala_middleware.collector.store.records import EntryFilter, StoredEntry

SHOWN = 100  # entries on the page
LOOKS_BACK = 5_000  # of one person's entries, when they are filtered
FLOOD = 25  # entries sent at once; of more, only the newest
PAUSE = 0.25  # seconds between two checks
KEEP_ALIVE = 15.0  # seconds of silence after which a comment keeps proxies from closing the stream
TROUBLE = ("refused", "ignored")


@dataclass(frozen=True, slots=True)
class LiveFilter:
    """The filters in a Live page's form."""

    kind: str
    event: str
    person: str

    @classmethod
    def of(cls, request: Request) -> LiveFilter:
        given = request.query_params
        kind = given.get("kind", "")
        return cls(
            kind if kind in {"identify", "track", "page"} else "",
            given.get("event", "").strip(),
            given.get("person", "").strip().lower(),
        )

    @property
    def everything(self) -> bool:
        return not (self.kind or self.event or self.person)

    def look(self, reader: Reader, after: int, limit: int) -> list[StoredEntry]:
        """Entries that match and are newer than number `after`, newest first."""
        if not self.person:
            return reader.newest(after, limit, EntryFilter(kind=self.kind or None, name=self.event or None))
        found = [
            entry
            for number in reader.person_by_email(self.person)
            for entry in islice(self._of(reader, number, after), limit)
        ]
        return sorted(found, key=lambda entry: entry.entry_no, reverse=True)

    def _of(self, reader: Reader, person: int, after: int) -> Iterator[StoredEntry]:
        """A person's entries that match. New ones must be found quickly; the first look may take longer."""
        for entry in _timeline(reader, person, SHOWN if after else LOOKS_BACK):
            if entry.entry_no > after and self.kind in {"", entry.kind} and self.event in {"", entry.name}:
                yield entry


def _timeline(reader: Reader, person: int, most: int) -> Iterator[StoredEntry]:
    """A person's entries, newest first, read piece by piece."""
    before = END
    for _ in range(0, most, SHOWN):
        some = reader.timeline(person, SHOWN, before)
        yield from some
        if len(some) < SHOWN:
            return
        before = some[-1].moment


def live(request: Request) -> Response:
    wanted = LiveFilter.of(request)
    with collector_of(request).store.reader() as reader:
        entries = wanted.look(reader, 0, SHOWN)
        trouble = reader.requests(SHOWN, TROUBLE) if wanted.everything else []
        newest_entry, newest_request = reader.newest_entry_no(), trouble[0]["request_no"] if trouble else 0
    return page(
        request,
        "live.html",
        rows=_rows(entries, trouble)[:SHOWN],
        wanted=wanted,
        after=f"{newest_entry}-{newest_request}",
        query=request.url.query,
    )


def _rows(entries: list[StoredEntry], trouble: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Entries, and requests that were not taken, by arrival, newest first."""
    rows = [(entry.received_at, 1, "entry", entry) for entry in entries]
    rows += [(request["received_at"], 0, "trouble", request) for request in trouble]  # type: ignore[misc]  # either kind
    rows.sort(key=lambda row: row[:2], reverse=True)
    return [(kind, row) for _, _, kind, row in rows]


async def stream(request: Request) -> Response:
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = _events(collector_of(request), LiveFilter.of(request), after)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(collector: Collector, wanted: LiveFilter, after: str) -> AsyncIterator[str]:
    position = _position(after)
    yield "retry: 1000\n\n"
    seen, silent = (-1, -1), 0.0
    while not await _closing(collector, PAUSE):
        silent += PAUSE
        if seen != (version := collector.version()):
            try:
                position, html = await _shared(collector, wanted, position, version)
            except DatabaseUnavailable:
                continue  # and try again soon
            seen = version
            if html:
                silent = 0.0
                yield _event(f"{position[0]}-{position[1]}", html)
        if silent >= KEEP_ALIVE:
            silent = 0.0
            yield ": still here\n\n"


async def _closing(collector: Collector, seconds: float) -> bool:
    """Wait; True as soon as the server is stopping."""
    try:
        await asyncio.wait_for(collector.closing.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _shared(
    collector: Collector, wanted: LiveFilter, position: tuple[int, int], version: tuple[int, int]
) -> tuple[tuple[int, int], str]:
    """What `_new_rows` returns, rendered once for all viewers who wait for the same."""
    awaited = (wanted, position, version)
    renderings = collector.renderings
    if awaited not in renderings:
        for old in [each for each in renderings if each[2] != version]:
            del renderings[old]
        rendering = asyncio.to_thread(_new_rows, collector, wanted, position)
        renderings[awaited] = asyncio.ensure_future(rendering)
    try:
        return await asyncio.shield(renderings[awaited])
    except DatabaseUnavailable:
        renderings.pop(awaited, None)  # the next look tries again
        raise


def _new_rows(
    collector: Collector, wanted: LiveFilter, position: tuple[int, int]
) -> tuple[tuple[int, int], str]:
    """The new position (entry and request number), and the HTML of the rows up to there."""
    with collector.store.reader() as reader:
        entry_no, request_no = position
        entries = wanted.look(reader, entry_no, FLOOD)
        trouble = reader.requests(FLOOD, TROUBLE) if wanted.everything else []
        newest = reader.newest_entry_no(), trouble[0]["request_no"] if trouble else request_no
    rows = _rows(entries, [each for each in trouble if each["request_no"] > request_no])
    return newest, "".join(render(f"_{kind}.html", **{kind: row}) for kind, row in rows)


def _position(text: str) -> tuple[int, int]:
    entry_no, _, request_no = text.partition("-")
    return number_in(entry_no), number_in(request_no)


def _event(position: str, html: str) -> str:
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"id: {position}\n{lines}\n"


routes = [Route("/", live, middleware=COMPRESSED), Route("/live/stream", stream)]
