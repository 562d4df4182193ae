"""What a request tells about each of its entries, as the JSON object that stands in them: page, agent, campaign.

Remembers what it has said: visitors see the same pages by the same browsers. Knows no settings, no cookies and no
people.
"""

from __future__ import annotations

from functools import lru_cache

from koala_middleware.payload.entries import context_json, error_member
from koala_middleware.payload.values.cleaner import Cleaner
from koala_middleware.protocol.encoding import json_text
from koala_middleware.request.head import RequestHead
from koala_middleware.request.page_context import (
    LONGEST_HEADER,
    LONGEST_PATH,
    LONGEST_QUERY,
    agent,
    whereabouts,
)

# Pages, and as many agents, by the words they were told from. Worth 12 µs a request that says something, a third.
_REMEMBERED = 256


def told_by(
    head: RequestHead, host: str, clean: Cleaner, *, with_query: bool = False, failed_with: int | None = None
) -> str:
    """The JSON object.

    Args:
        host: The host the visitor asked for, as the site trusts it; `"www.example.com:8000"`.
        clean: What takes out secrets, as of all that leaves.
        with_query: Whether URLs keep their query, which can hold what is nobody's business.
        failed_with: The response's status, where entries are to say that it was an error.
    """
    query = head.query
    if not with_query and "utm_" not in query:
        query = ""  # nothing of it is told, and it is another one with each visitor
    # Each cut where its reader would cut it, so that what is remembered has a bound.
    page = _page(
        clean,
        with_query,
        head.scheme,
        host[:LONGEST_HEADER],
        head.path[:LONGEST_PATH],
        query[:LONGEST_QUERY],
        (head.header("referer") or "")[:LONGEST_QUERY],
    )
    user_agent, accept_language = head.header("user-agent") or "", head.header("accept-language") or ""
    speaker = _agent(clean, user_agent[:LONGEST_HEADER], accept_language[:LONGEST_HEADER])
    return context_json(page, speaker, error_member(failed_with))


@lru_cache(maxsize=_REMEMBERED)
def _page(clean: Cleaner, with_query: bool, *place: str) -> str:
    return _members(clean(whereabouts(*place, with_query=with_query)))


@lru_cache(maxsize=_REMEMBERED)
def _agent(clean: Cleaner, user_agent: str, accept_language: str) -> str:
    return _members(clean(agent(user_agent, accept_language)))


def _members(told: dict[str, object]) -> str:
    """What stands between an object's braces, and a comma behind it."""
    return json_text(told)[1:-1] + "," if told else ""
