"""How a page view that arrives again completes the stored one. Must not know SQL or HTTP.

A browser sends a page view when the page opens, and once more when it is left: with the same message id, the end of
the visit and the times at which the page was in use.
"""

from __future__ import annotations

from typing import Any

import orjson

from koala_middleware.collector.validation.fields import parse_moment

_GROWING = ("visit_end", "focus_intervals")


def completed(stored: bytes | str, repeat: bytes) -> bytes | None:
    """The stored page view with the end of the visit. None when the repeat adds nothing, or is older."""
    before, after = orjson.loads(stored), orjson.loads(repeat)
    grown = {name: after[name] for name in _GROWING if name in after}
    added = {name: value for name, value in after.items() if name not in before}
    if not {**grown, **added} or _end(after) < _end(before):
        return None
    body = {**before, **added, **grown}
    return orjson.dumps(body) if body != before else None


def _end(body: dict[str, Any]) -> int:
    """When the visit ended, in milliseconds since 1970; -1 while it is not known."""
    try:
        return parse_moment(body["visit_end"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return -1
