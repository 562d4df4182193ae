"""How entries and people are put into words: titles, shortened values, times, initials. Templates escape them.

Must not know storage or HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import orjson

from koala_middleware.collector.store.records import StoredEntry, StoredPerson
from koala_middleware.collector.validation.fields import parse_moment

HUES = 12  # avatar colors in the style sheet
_CHIPS = 4  # properties shown on one line
_EXCERPT = 4_000  # characters of a body in a row
_SHORT = 48  # characters of a value on one line
_NAMES = ("name", "full_name", "fullName", "first_name", "firstName")


@dataclass(frozen=True, slots=True)
class Described:
    """An entry on one line.

    Attributes:
        title: `"Signed Up"`, `"/pricing"`, `"Identified"`.
        chips: A few of its properties or traits, shortened.
        more: How many more there are.
    """

    title: str
    chips: list[tuple[str, str]]
    more: int


def describe(entry: StoredEntry) -> Described:
    body = loads(entry.body)
    if entry.kind == "page":
        page = mapping(body.get("page"))
        title = text(page.get("path")) or text(page.get("url")) or "Page"
        if (seconds := active_seconds(body)) >= 1:
            title = f"{title}, {duration(seconds)}"
        return _described(
            title, {name: page.get(name) for name in ("title", "referrer", "host") if page.get(name)}
        )
    if entry.kind == "identify":
        traits = mapping(body.get("traits"))
        title = "Company described" if entry.handle else "Identified" if entry.becomes_person else "Traits"
        return _described(title, {name: value for name, value in traits.items() if name != "email"})
    return _described(entry.name, mapping(body.get("properties")))


def active_seconds(page_view: Mapping[str, Any]) -> float:
    """For how long the page was in use; without that, for how long it was open."""
    intervals = page_view.get("focus_intervals")
    spans = [_seconds(each) for each in intervals] if isinstance(intervals, list) else []
    return sum(spans) or _seconds([page_view.get("visit_start"), page_view.get("visit_end")])


def _seconds(interval: Any) -> float:
    """Of `[start, end]` or `{"start": …, "end": …}`; 0 for anything else."""
    ends = [interval.get("start"), interval.get("end")] if isinstance(interval, dict) else interval
    try:
        start, end = map(parse_moment, ends)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(0.0, (end - start) / 1000)


def duration(seconds: float) -> str:
    """`"45 s"`, `"2 min"`, `"1.5 h"`."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _described(title: str, facts: Mapping[str, Any]) -> Described:
    chips = [(name, short(value)) for name, value in _flat(facts)]
    return Described(title, chips[:_CHIPS], max(0, len(chips) - _CHIPS))


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{"$account": {"domain": …}}` as `$account.domain`, one level deep."""
    for name, value in facts.items():
        if isinstance(value, dict) and not prefix:
            yield from _flat(value, f"{name}.")
        else:
            yield f"{prefix}{name}", value


def short(value: Any) -> str:
    """A JSON value on part of a line."""
    words = value if isinstance(value, str) else orjson.dumps(value).decode()
    return words if len(words) <= _SHORT else words[: _SHORT - 1] + "…"


def whole(value: str) -> str:
    """A JSON value as text, nothing left out: a string without its quotes."""
    loaded = loads(value)
    return loaded if isinstance(loaded, str) else value


def short_json(value: str) -> str:
    return short(loads(value))


def pretty(body: str) -> str:
    """JSON over several lines; what is not JSON stays as it is."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return body


def is_long(body: str) -> bool:
    return len(body) > _EXCERPT


def excerpt(body: str) -> str:
    """A body as rows show it: JSON over several lines, or only the beginning of a long one."""
    return f"{body[:_EXCERPT]}…" if is_long(body) else pretty(body)


def display_name(person: StoredPerson) -> str:
    """A person's name from their traits; empty without one."""
    traits = {trait.name: loads(trait.value) for trait in person.traits}
    first = next((text(traits[name]) for name in _NAMES if text(traits.get(name))), "")
    last = text(traits.get("last_name", traits.get("lastName")))
    whole = any(text(traits.get(name)) for name in _NAMES[:3])
    return first if whole else f"{first} {last}".strip()


def initials(who: str) -> str:
    words = who.partition("@")[0].replace(".", " ").replace("_", " ").replace("-", " ").split()
    return "".join(word[0] for word in words[:2]).upper() or "?"


def hue(who: str) -> int:
    """Which of the avatar colors is theirs."""
    return crc32(who.encode("utf-8", "replace")) % HUES


def clock_time(moment: int) -> str:
    """The time in UTC, until a page's script puts it into the reader's time zone."""
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%H:%M:%S")


def day_name(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%A, %-d %B %Y")


def timestamp(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%-d %b %Y, %H:%M UTC")


def number(value: int) -> str:
    return f"{value:,}".replace(",", "\u2009")


def size(value: int) -> str:
    amount = float(value)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1000:  # noqa: PLR2004  (the next unit)
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def browser(user_agent: str) -> str:
    """`"Chrome on macOS"` from a User-Agent; or the text itself, shortened."""
    browsers = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
    systems = {
        "iPhone": "iPhone",
        "iPad": "iPad",
        "Android": "Android",
        "Windows": "Windows",
        "Mac OS": "macOS",
    }
    systems |= {"CrOS": "ChromeOS", "Linux": "Linux"}
    name = next((said for mark, said in browsers.items() if f"{mark}/" in user_agent), "")
    system = next((said for mark, said in systems.items() if mark in user_agent), "")
    return f"{name} on {system}" if name and system else name or short(user_agent)


def loads(body: str) -> Any:
    return orjson.loads(body)


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""
