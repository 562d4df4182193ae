"""Who is who: the rules by which anonymous visitors become people.

Must not know SQL, HTTP or JSON, so that every store follows the same rules.

1. A request with both a profile and an email *names* the profile: at the moment of each of its entries, this visitor
   was that person. An entry without an email does not say whose it is.
2. A named profile belongs to that person from then on, and its anonymous past comes along: the first ownership
   reaches back to the visitor's first page.
3. Named as somebody else, the profile belongs to somebody else from that moment on. What came before stays where it
   was.
4. One email on two browsers is one person with two profiles. An email without a profile is that person, too.
5. What counts is when things *happened*, not when they arrived. Batches may come late, twice or in any order: the same
   entries always end in the same ownerships. Within one millisecond the message ids decide (version 7 ids sort by
   time). An entry without a time counts from its arrival.
6. A trait has the value that was stated last, in that order.

Ownerships are a summary of the entries, not a history of what the collector did: they could be dropped and computed
again. `apply_namings` keeps the summary right when a further naming becomes known, wherever in time it falls.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

Moment = tuple[int, bytes]
"""When something happened: milliseconds since 1970, then the message id for order within the millisecond."""

NOBODY = 0
"""The owner in place of an erased person: entries there are anonymous."""

BEGINNING: Moment = (-1, b"")
END: Moment = (2**62, b"")


@dataclass(frozen=True, slots=True)
class Ownership:
    """From `since` until the next ownership, the profile belongs to `person`."""

    since: Moment
    person: int


@dataclass(frozen=True, slots=True)
class Period:
    """A profile's time from `start` (included) to `end` (not included), and whose it is."""

    profile: int
    start: Moment
    end: Moment
    person: int | None


Naming = Ownership
"""A stored entry whose request named a person: the same two facts."""

NextNaming = Callable[[int, Moment], Naming | None]
"""Finds the first stored entry of a profile later than a moment whose request named a person."""


def owner(ownerships: Sequence[Ownership], moment: Moment) -> int | None:
    """Whose an entry of that moment is. Before the first ownership: the first owner's."""
    if not ownerships:
        return None
    person = ownerships[max(0, _position(ownerships, moment) - 1)].person
    return None if person == NOBODY else person


def periods(profile: int, ownerships: Sequence[Ownership]) -> Iterator[Period]:
    """The profile's whole time, cut where the owner changes. Without ownerships: one period that is nobody's."""
    if not ownerships:
        yield Period(profile, BEGINNING, END, None)
        return
    starts = [BEGINNING, *(ownership.since for ownership in ownerships[1:])]
    ends = [*starts[1:], END]
    for ownership, start, end in zip(ownerships, starts, ends, strict=True):
        yield Period(profile, start, end, ownership.person)


def period_at(profile: int, ownerships: Sequence[Ownership], moment: Moment) -> Period:
    """The period that a moment falls in."""
    return next(period for period in periods(profile, ownerships) if moment < period.end)


def apply_namings(
    next_naming: NextNaming, profile: int, ownerships: list[Ownership], namings: Sequence[Naming]
) -> None:
    """Update `ownerships` with new namings, whose entries are stored already.

    The latest comes first, so that each one finds everything after itself settled.
    """
    for naming in sorted(namings, key=lambda each: each.since, reverse=True):
        _apply(next_naming, profile, ownerships, naming)


def _apply(next_naming: NextNaming, profile: int, ownerships: list[Ownership], naming: Naming) -> None:
    position = _position(ownerships, naming.since)
    before = ownerships[position - 1] if position else None
    if before is not None and before.person == naming.person:
        return  # named as the same person again
    following = _following(next_naming, profile, ownerships, position, naming)
    ownerships.insert(position, naming)
    if following is not None:
        _settle(ownerships, position + 1, naming, following)


def _following(
    next_naming: NextNaming, profile: int, ownerships: list[Ownership], position: int, naming: Naming
) -> Naming | None:
    """The next naming after this one. Nobody was named before the first ownership, so there it is that one."""
    if position == 0:
        return ownerships[0] if ownerships else None
    return next_naming(profile, naming.since)


def _settle(ownerships: list[Ownership], position: int, naming: Naming, following: Naming) -> None:
    """The next naming begins an ownership only if it names somebody else."""
    known = position < len(ownerships) and ownerships[position].since == following.since
    if following.person == naming.person:
        if known:
            del ownerships[position]
    elif not known:
        ownerships.insert(position, following)


def changes(
    profile: int, old: Sequence[Ownership], new: Sequence[Ownership]
) -> Iterator[tuple[Period, int | None]]:
    """The periods whose owner changes, each with its former owner."""
    cuts = sorted({BEGINNING, *(ownership.since for ownership in (*old, *new))})
    pieces = zip(cuts, [*cuts[1:], END], strict=True)
    for (was, now), run in groupby(pieces, key=lambda piece: (owner(old, piece[0]), owner(new, piece[0]))):
        if was != now:
            together = list(run)
            yield Period(profile, together[0][0], together[-1][1], now), was


def _position(ownerships: Sequence[Ownership], moment: Moment) -> int:
    """How many ownerships begin at or before the moment."""
    return bisect_right(ownerships, moment, key=lambda ownership: ownership.since)
