"""The pages besides Live. Each reads one snapshot and fills one template. Must not know SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from koala_middleware.collector.identity import END, Moment
from koala_middleware.collector.pages.formatting import browser
from koala_middleware.collector.pages.rendering import COMPRESSED, page
from koala_middleware.collector.pages.repeats import without_repeats
from koala_middleware.collector.runtime import collector_of
from koala_middleware.collector.store.contract import Reader
from koala_middleware.collector.store.records import EventCount
from koala_middleware.collector.times import HOUR, now_ms

PEOPLE = 50
TIMELINE = 100
ACCOUNTS = 100
EVENTS = 200
REFUSED = 50
SENDERS = 10
MINUTES = 60  # on the Health page's chart
PERIODS: Mapping[str, tuple[str, int, int]] = {  # title, bars, hours in each
    "day": ("24 hours", 24, 1),
    "week": ("7 days", 28, 6),
    "month": ("30 days", 30, 24),
}
OUTCOMES = ("taken", "ignored", "refused")
View = Callable[[Request, Reader], Response]


def reading(view: View) -> Callable[[Request], Response]:
    """An endpoint for a page that reads one snapshot. Starlette runs it in a thread."""

    def endpoint(request: Request) -> Response:
        with collector_of(request).store.reader() as reader:
            return view(request, reader)

    return endpoint


def people(request: Request, reader: Reader) -> Response:
    search = request.query_params.get("q", "").strip()
    found = reader.people(PEOPLE + 1, search, _cursor(request.query_params.get("before", "")))
    older = found[PEOPLE - 1] if len(found) > PEOPLE else None
    before = f"{older.last_seen or 0}-{older.person_no}" if older else ""
    if not found and search:
        visitor = reader.visitor(search)
        if visitor is not None:
            return RedirectResponse(f"/visitors/{visitor}")
    return page(request, "people.html", people=found[:PEOPLE], search=search, before=before)


def person(request: Request, reader: Reader) -> Response:
    number = number_in(request.path_params["number"])
    found = reader.person(number)
    if found is None:
        return missing(request, "Nobody has this number. People who were erased have no page.")
    before = _moment(request.query_params.get("before", ""))
    entries = reader.timeline(number, TIMELINE + 1, before)
    browsers = reader.browsers(number)
    return page(
        request,
        "person.html",
        person=found,
        browsers=browsers,
        places={
            each.profile: browser(each.user_agent) or f"browser {each.profile_id[:8]}" for each in browsers
        },
        history=reader.trait_history(number),
        entries=without_repeats(entries[:TIMELINE]),
        older=_older(entries),
        newest=before == END,
    )


def visitor(request: Request, reader: Reader) -> Response:
    """One profile from its first page on, while no email is known."""
    number = number_in(request.path_params["number"])
    entries = reader.visitor_timeline(number, TIMELINE + 1, _moment(request.query_params.get("before", "")))
    if not entries:
        return missing(request, "This visitor is not known here.")
    owners = Counter(entry.person for entry in entries)
    if len(owners) == 1 and entries[0].person is not None:
        return RedirectResponse(f"/people/{entries[0].person}")
    return page(
        request,
        "visitor.html",
        profile_id=entries[0].profile_id,
        entries=without_repeats(entries[:TIMELINE]),
        older=_older(entries),
    )


def accounts(request: Request, reader: Reader) -> Response:
    search = request.query_params.get("q", "").strip()
    first = number_in(request.query_params.get("from", ""))
    total = reader.count_accounts(search)
    return page(
        request,
        "accounts.html",
        accounts=reader.accounts(ACCOUNTS, search, first),
        search=search,
        first=first,
        total=total,
        more=first + ACCOUNTS if first + ACCOUNTS < total else 0,
    )


def account(request: Request, reader: Reader) -> Response:
    number = number_in(request.path_params["number"])
    found = reader.account(number)
    if found is None:
        return missing(request, "No company has this number.")
    return page(
        request,
        "account.html",
        account=found,
        people=reader.account_people(number, PEOPLE),
        entries=reader.account_timeline(number, TIMELINE),
    )


def events(request: Request, reader: Reader) -> Response:
    chosen = request.query_params.get("period", "day")
    chosen = chosen if chosen in PERIODS else "day"
    _, count, width = PERIODS[chosen]
    now = now_ms() // HOUR
    first = (now // width - count + 1) * width
    event_counts = [each for each in reader.event_counts(first, width) if each.total]
    columns = [_columns(each, first, count, width) for each in event_counts[:EVENTS]]
    return page(
        request,
        "events.html",
        events=list(zip(event_counts[:EVENTS], columns, strict=True)),
        hidden=max(0, len(event_counts) - EVENTS),
        total=sum(each.total for each in event_counts),
        periods={name: title for name, (title, _, _) in PERIODS.items()},
        period=chosen,
    )


def _columns(
    event_counts: EventCount, first: int, count: int, width: int
) -> list[tuple[str, dict[str, int]]]:
    return [
        (_hour(first + index * width), {"count": event_counts.columns.get(index, 0)})
        for index in range(count)
    ]


def _hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * HOUR / 1000, UTC).strftime("%-d %b, %H:00 UTC")


def health(request: Request, reader: Reader) -> Response:
    collector = collector_of(request)
    metrics = collector.metrics
    now = now_ms() // 60_000
    rows = reader.minutes(now - 24 * 60)
    day: Counter[str] = Counter()
    minutes: dict[int, dict[str, int]] = {
        minute: dict.fromkeys(OUTCOMES, 0) for minute in range(now - MINUTES + 1, now + 1)
    }
    for minute, outcome, requests, entries in rows:
        day[outcome] += requests
        day["entries"] += entries
        if minute in minutes:
            minutes[minute][outcome] = requests
    refused = reader.requests(REFUSED, ("refused", "ignored"))
    return page(
        request,
        "health.html",
        day=day,
        columns=[(_minute(minute), parts) for minute, parts in minutes.items()],
        last_minute=sum(minutes[now - 1].values()),
        refused=refused,
        reasons=Counter(row["notes"] for row in refused).most_common(8),
        totals=reader.totals(),
        size=collector.store.size(),
        waiting=collector.writer.waiting,
        failure=collector.writer.failure,
        failed=metrics.value("koala_collector_failed_total"),
        repeats=metrics.value("koala_collector_repeats_total"),
        free=collector.store.free_disk(),
        senders=collector.senders.latest(SENDERS),
    )


def _minute(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%H:%M UTC")


def request_page(request: Request, reader: Reader) -> Response:
    """One request as it arrived."""
    number = number_in(request.path_params["number"])
    found = reader.requests(1, OUTCOMES, number)
    if not found:
        return missing(
            request,
            "This request's raw body is no longer kept: only the latest are. Its entries are still there.",
        )
    return page(request, "request.html", shown=found[0])


def entry(request: Request, reader: Reader) -> Response:
    """One entry, with all of its body."""
    number = number_in(request.path_params["number"])
    found = reader.entries(number - 1, 1)
    if not found or found[0].entry_no != number:
        return missing(request, "This entry is not kept.")
    return page(request, "entry.html", entry=found[0])


def missing(request: Request, why: str) -> Response:
    return page(request, "missing.html", 404, why=why)


def number_in(text: str) -> int:
    """A row number from a path; 0 for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0  # noqa: PLR2004  (64 bits)


def _older(entries: list[Any]) -> str:
    """The cursor for entries older than the last one shown; empty at the end."""
    if len(entries) <= TIMELINE:
        return ""
    last = entries[TIMELINE - 1]
    return f"{last.sent_at}-{last.message_id.hex()}"


def _moment(text: str) -> Moment:
    sent_at, _, message_id = text.partition("-")
    try:
        return min(int(sent_at), END[0]), bytes.fromhex(message_id)
    except ValueError:
        return END


def _cursor(text: str) -> tuple[int, int] | None:
    last_seen, _, number = text.partition("-")
    both = (last_seen, number)
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in both):  # noqa: PLR2004  (64 bits)
        return None
    return int(last_seen), int(number)


routes = [
    Route("/people", reading(people), middleware=COMPRESSED),
    Route("/people/{number}", reading(person), middleware=COMPRESSED),
    Route("/visitors/{number}", reading(visitor), middleware=COMPRESSED),
    Route("/accounts", reading(accounts), middleware=COMPRESSED),
    Route("/accounts/{number}", reading(account), middleware=COMPRESSED),
    Route("/events", reading(events), middleware=COMPRESSED),
    Route("/health", reading(health), middleware=COMPRESSED),
    Route("/entries/{number}", reading(entry), middleware=COMPRESSED),
    Route("/requests/{number}", reading(request_page), middleware=COMPRESSED),
]
