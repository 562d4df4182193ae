"""What identifies state about a person. Must not know SQL, nor whose the identifies are.

Koala's browser SDK sends all traits that it has cached at the top level of each request: a snapshot. That a value is
repeated says nothing new. So of a snapshot only what differs from the browser's previous one is a statement, and an
old value in a cache does not replace what a server has stated since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from koala_middleware.collector.identity import Moment

IDENTIFY, SNAPSHOT = 1, 2
"""The values of an entry's `identifies`; 0 for other kinds."""


class Identify(NamedTuple):
    """A stored identify: when it happened, its body (JSON), and whether it is a snapshot."""

    moment: Moment
    body: bytes
    is_snapshot: bool


def statements(identifies: Iterable[Identify]) -> Iterator[tuple[Moment, Mapping[str, Any]]]:
    """The traits that one profile's identifies state while it belongs to one person, oldest first."""
    previous: Mapping[str, Any] = {}
    for moment, body, is_snapshot in sorted(identifies):
        traits = traits_in(body)
        if is_snapshot:
            stated, previous = news(traits, previous), traits
            yield moment, stated
        else:
            yield moment, traits


def news(snapshot: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """What a snapshot says that the previous one does not."""
    return {
        name: value for name, value in snapshot.items() if name not in previous or previous[name] != value
    }


def traits_in(body: bytes | str) -> dict[str, Any]:
    """The traits in an identify's body."""
    traits = orjson.loads(body).get("traits")
    return traits if isinstance(traits, dict) else {}
