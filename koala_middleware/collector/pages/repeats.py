"""Leaves out of a timeline what says nothing new: repeated snapshots of traits, and links without traits.

Must not know storage or HTTP.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from koala_middleware.collector.stated_traits import news, traits_in
from koala_middleware.collector.store.records import StoredEntry


def without_repeats(newest_first: Sequence[StoredEntry]) -> list[StoredEntry]:
    """The entries, without those identifies that repeat what the same browser said earlier among them."""
    known: defaultdict[int | None, dict[str, Any]] = defaultdict(dict)
    shown = [
        entry
        for entry in reversed(newest_first)
        if entry.kind != "identify" or _says_something(entry, known[entry.profile])
    ]
    return shown[::-1]


def _says_something(entry: StoredEntry, known: dict[str, Any]) -> bool:
    traits = {name: value for name, value in traits_in(entry.body).items() if name != "email"}
    new = news(traits, known)
    known.update(traits)
    return entry.becomes_person or bool(new if entry.is_snapshot else traits)
