"""Who is who: the rules by which visitors become people.

Must not know SQL, HTTP or JSON: a Ledger is all it asks for, so every store follows the same rules.

The rules:

1. A request that gives both a profile and an email *names* the profile: each entry in it says "at this moment
   this visitor was that person". An entry without an email says nothing of whose it is.
2. A profile that is named takes its *turn* as that person. Its past, as far back as nobody was named, comes along:
   the first turn reaches back to the visitor's first page.
3. Named as somebody else, from that moment on it is somebody else's turn; what came before stays where it was.
4. The same email on two browsers is one person with two profiles. An email without a profile is that person, too.
5. When things *happened* decides, not when they arrived. So batches may come late, twice or in any order, and the
   same entries always end in the same turns. Within one millisecond the message ids decide (version 7 ids sort by
   time); what a sender gives no time counts from its arrival.
6. Of each trait the value said last, in that order, is the person's.

Turns are therefore no history of what the collector did, but a summary of what the entries say: they could be
thrown away and read off again. `name` keeps the summary right when one more naming becomes known, wherever
in time it falls.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

Moment = tuple[int, bytes]
"""When something happened: milliseconds since 1970, then the message id for order within the millisecond."""

NOBODY = 0
"""Whose turn it is where a person was erased: entries there are as anonymous as before all turns."""

BEGINNING: Moment = (-1, b"")
END: Moment = (2**62, b"")


@dataclass(frozen=True, slots=True)
class Turn:
    """From `since` on, until the next turn, the profile is `person`."""

    since: Moment
    person: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A profile's time from `start` (included) to `end` (not included), and whose it is."""

    profile: int
    start: Moment
    end: Moment
    person: int | None


class Ledger(Protocol):
    """What the rules must be able to look up."""

    def next_naming(self, profile: int, after: Moment) -> Turn | None:
        """The first stored entry of `profile` later than `after` whose request named a person."""


def owner(turns: Sequence[Turn], moment: Moment) -> int | None:
    """Whose an entry of that moment is: the turn it falls in; before all turns, the first one's."""
    if not turns:
        return None
    person = turns[max(0, _position(turns, moment) - 1)].person
    return None if person == NOBODY else person


def stretches(profile: int, turns: Sequence[Turn]) -> Iterator[Stretch]:
    """The profile's whole time, cut where turns change. Without turns: one stretch that is nobody's."""
    if not turns:
        yield Stretch(profile, BEGINNING, END, None)
        return
    starts = [BEGINNING, *(turn.since for turn in turns[1:])]
    ends = [*starts[1:], END]
    for turn, start, end in zip(turns, starts, ends, strict=True):
        yield Stretch(profile, start, end, turn.person)


def name(ledger: Ledger, profile: int, turns: list[Turn], namings: Sequence[Turn]) -> None:
    """Let `turns` tell what new namings add. The namings' entries are in the ledger already.

    The latest comes first, so that each finds everything after itself settled.
    """
    for naming in sorted(namings, key=lambda turn: turn.since, reverse=True):
        _name(ledger, profile, turns, naming)


def _name(ledger: Ledger, profile: int, turns: list[Turn], naming: Turn) -> None:
    position = _position(turns, naming.since)
    before = turns[position - 1] if position else None
    if before is not None and before.person == naming.person:
        return  # said again
    following = _following(ledger, profile, turns, position, naming)
    turns.insert(position, naming)
    if following is not None:
        _settle(turns, position + 1, naming, following)


def _following(ledger: Ledger, profile: int, turns: list[Turn], position: int, naming: Turn) -> Turn | None:
    """The next naming after this one. Before the first turn nobody was named, so there it is the first turn."""
    if position == 0:
        return turns[0] if turns else None
    return ledger.next_naming(profile, naming.since)


def _settle(turns: list[Turn], position: int, naming: Turn, following: Turn) -> None:
    """The next naming begins a turn only if it says something new."""
    known = position < len(turns) and turns[position].since == following.since
    if following.person == naming.person:
        if known:
            del turns[position]
    elif not known:
        turns.insert(position, following)


def changes(profile: int, old: Sequence[Turn], new: Sequence[Turn]) -> Iterator[tuple[Stretch, int | None]]:
    """The stretches that change hands, each with whose it was."""
    cuts = sorted({BEGINNING, *(turn.since for turn in (*old, *new))})
    pieces = zip(cuts, [*cuts[1:], END], strict=True)
    for (was, now), run in groupby(pieces, key=lambda piece: (owner(old, piece[0]), owner(new, piece[0]))):
        if was != now:
            together = list(run)
            yield Stretch(profile, together[0][0], together[-1][1], now), was


def _position(turns: Sequence[Turn], moment: Moment) -> int:
    """How many turns began at or before the moment."""
    return bisect_right(turns, moment, key=lambda turn: turn.since)
