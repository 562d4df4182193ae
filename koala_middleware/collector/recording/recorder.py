"""What becomes of batches: entries stored once, turns told, traits and companies summed up.

Works on a whole group of batches at a time, in whatever transaction its caller holds. Must not know SQL or HTTP:
a Ledger does the storing, identity.py says who is who.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson

from koala_middleware.collector import identity
from koala_middleware.collector.identity import Moment, Stretch, Turn
from koala_middleware.collector.validation.batches import Batch, Entry, group_of
from koala_middleware.collector.validation.emails_and_domains import company_domain, normal_domain

HOUR = 60 * 60 * 1000
_IDENTIFY = "identify"


class Row(NamedTuple):
    """One entry as it is stored; the order is that of the table's columns."""

    entry_no: int
    project: int
    label: int
    profile: int | None
    person: int | None
    account: int | None
    sent_at: int
    message_id: bytes
    received_at: int
    request_no: int
    identifies: int
    body: bytes

    @property
    def moment(self) -> Moment:
        return self.sent_at, self.message_id


@dataclass(frozen=True, slots=True)
class Known:
    """A stored entry that came again: by whom it was named, if anybody."""

    entry_no: int
    person: int | None


class Said(NamedTuple):
    """One identify's traits, and of whom."""

    person: int
    moment: Moment
    traits: Mapping[str, Any]


class Ledger(identity.Ledger, Protocol):
    """What a store must do for batches to be recorded, all in the transaction under way."""

    def expect(self, profiles: Collection[tuple[str, str]], people: Collection[tuple[str, str]]) -> None:
        """All that the group will ask for by name: (key, profile_id) and (key, email).

        Where others write, too, none of it may change under the group from here on.
        """

    def project(self, key: str) -> int: ...
    def profile(self, project: int, profile_id: str) -> int: ...
    def person(self, project: int, email: str) -> int:
        """The person's number. A new person also gets a place in their company (see `join`)."""

    def account(self, project: int, handle: str) -> int: ...
    def label(self, project: int, kind: str, name: str) -> int: ...
    def entry_numbers(self, count: int) -> Sequence[int]:
        """Numbers for new entries, ascending, above those of all entries the group can see."""

    def add(self, rows: Sequence[Row]) -> Mapping[tuple[int, bytes], Known]:
        """Store what is new. Answers what was stored before, by project and message id."""

    def restate(self, entry_no: int, person: int) -> None:
        """The stored entry came again, this time with a name."""

    def turns(self, profile: int) -> list[Turn]: ...
    def keep_turns(self, changed: Mapping[int, tuple[Sequence[Turn], Sequence[Turn]]]) -> None:
        """By profile: its turns as they were and as they are now."""

    def with_entries(self, stretches: Collection[Stretch], before: int) -> set[Stretch]:
        """Those of the stretches that hold entries older, by number, than `before`."""

    def identifies(self, stretch: Stretch) -> Iterator[tuple[Moment, bytes]]: ...
    def identifies_of(self, person: int) -> Iterator[tuple[Moment, bytes]]:
        """All identifies that belong to the person, those without a profile included."""

    def seen_within(self, stretch: Stretch) -> tuple[int, int] | None: ...
    def seen_of(self, person: int) -> tuple[int, int] | None: ...
    def saw(self, seen: Mapping[int, tuple[int, int]]) -> None:
        """Widen first_seen and last_seen of people."""

    def forget_sums(self, person: int) -> None:
        """Drop traits, company places and first_seen/last_seen, before they are summed up anew."""

    def tell_traits(self, traits: Mapping[tuple[int, str], tuple[Moment, bytes]]) -> None: ...
    def tell_account_traits(self, traits: Mapping[tuple[int, str, str], tuple[Moment, bytes]]) -> None: ...
    def join(self, members: Iterable[tuple[int, int, str]]) -> None: ...
    def email_of(self, person: int) -> tuple[int, str]:
        """The person's project and email."""

    def count(self, rows: Sequence[Row]) -> None:
        """How many entries came, by label and hour."""


def record(ledger: Ledger, batches: Sequence[tuple[int, Batch]]) -> list[int]:
    """Record a group of (request number, batch). Answers how many entries of each batch were new."""
    ledger.expect(
        {(batch.key, batch.profile_id) for _, batch in batches if batch.profile_id},
        {(batch.key, email) for _, batch in batches for email in emails_in(batch)},
    )
    numbers = ledger.entry_numbers(sum(len(batch.entries) for _, batch in batches))
    return _Group(ledger, numbers).record(batches)


def emails_in(batch: Batch) -> Iterator[str]:
    """Whom a batch names: its own email, or where there is none, each identify's."""
    if batch.email:
        yield batch.email
    elif not batch.handle:
        yield from (entry.email for entry in batch.entries if entry.email)


class _Group:
    """One group's work, step by step."""

    def __init__(self, ledger: Ledger, numbers: Sequence[int]) -> None:
        self.ledger = ledger
        self.first_new = numbers[0] if numbers else 0
        self.numbers = iter(numbers)
        self.namings: defaultdict[int, list[Turn]] = defaultdict(list)
        self.traits: dict[int, dict[str, Any]] = {}  # by entry number

    def record(self, batches: Sequence[tuple[int, Batch]]) -> list[int]:
        rows = [self._rows(request_no, batch) for request_no, batch in batches]
        new = self._store(rows)
        self._take_turns()
        self._sum_up(new)
        return [len(of_batch) for of_batch in rows]

    def _rows(self, request_no: int, batch: Batch) -> list[Row]:
        ledger = self.ledger
        project = ledger.project(batch.key)
        profile = ledger.profile(project, batch.profile_id) if batch.profile_id else None
        named = ledger.person(project, batch.email) if batch.email else None
        account = ledger.account(project, batch.handle) if batch.handle else None
        rows = []
        for entry in batch.entries:
            person = named
            if person is None and entry.email and account is None:
                person = ledger.person(project, entry.email)
            label = ledger.label(project, entry.kind, entry.name if entry.kind == "track" else "")
            rows.append(self._row(entry, batch, request_no, (project, label, profile, person, account)))
        return rows

    def _row(
        self,
        entry: Entry,
        batch: Batch,
        request_no: int,
        whose: tuple[int, int, int | None, int | None, int | None],
    ) -> Row:
        row = Row(
            next(self.numbers),
            *whose,
            entry.sent_at,
            entry.message_id,
            batch.received_at,
            request_no,
            int(entry.kind == _IDENTIFY),
            entry.body,
        )
        if entry.traits:
            self.traits[row.entry_no] = entry.traits
        return row

    def _store(self, rows: list[list[Row]]) -> list[Row]:
        """Store what is new, and leave in `rows` only that."""
        flat = self._without_repeats(rows)
        known = self.ledger.add(flat)
        if known:
            flat = self._without(rows, known)
        for row in flat:
            if row.person is not None and row.profile is not None:
                self.namings[row.profile].append(Turn(row.moment, row.person))
        return flat

    def _without_repeats(self, rows: list[list[Row]]) -> list[Row]:
        """Within the group: of an entry that comes twice the first stays, or the one that says whose it is."""
        first: dict[tuple[int, bytes], Row] = {}
        for row in (row for of_batch in rows for row in of_batch):
            kept = first.setdefault((row.project, row.message_id), row)
            if kept.person is None and row.person is not None:
                first[row.project, row.message_id] = row
        if len(first) != sum(map(len, rows)):
            for of_batch in rows:
                of_batch[:] = [row for row in of_batch if first[row.project, row.message_id] is row]
        return [row for of_batch in rows for row in of_batch]

    def _without(self, rows: list[list[Row]], known: Mapping[tuple[int, bytes], Known]) -> list[Row]:
        for of_batch in rows:
            for row in of_batch:
                before = known.get((row.project, row.message_id))
                if before and before.person is None and row.person is not None:
                    self._restate(row, before)
            of_batch[:] = [row for row in of_batch if (row.project, row.message_id) not in known]
        return [row for of_batch in rows for row in of_batch]

    def _restate(self, row: Row, before: Known) -> None:
        """A retry may carry an entry together with later ones, and so with the name that those brought."""
        if row.profile is None or row.person is None:
            return
        self.ledger.restate(before.entry_no, row.person)
        self.namings[row.profile].append(Turn(row.moment, row.person))

    def _take_turns(self) -> None:
        """All turns first: people are summed up anew by the turns as the whole group leaves them."""
        changed: dict[int, tuple[list[Turn], list[Turn]]] = {}
        for profile, namings in self.namings.items():
            old = self.ledger.turns(profile)
            new = list(old)
            identity.name(self.ledger, profile, new, namings)
            if new != old:
                changed[profile] = old, new
        if changed:
            self.ledger.keep_turns(changed)
            handed_over = [
                each for profile, was in changed.items() for each in identity.changes(profile, *was)
            ]
            moved = self.ledger.with_entries({stretch for stretch, _ in handed_over}, self.first_new)
            self._hand_over([each for each in handed_over if each[0] in moved])

    def _hand_over(self, changes: Sequence[tuple[Stretch, int | None]]) -> None:
        """Entries stored earlier changed hands: sum up anew who lost some, add to who gained some."""
        for person in sorted({was for _, was in changes if was is not None}):
            self.ledger.forget_sums(person)
            self._add_up(person, self.ledger.seen_of(person), self.ledger.identifies_of(person))
        for stretch, _ in changes:
            if stretch.person is not None:
                seen, said = self.ledger.seen_within(stretch), self.ledger.identifies(stretch)
                self._add_up(stretch.person, seen, said)

    def _add_up(
        self, person: int, seen: tuple[int, int] | None, said: Iterable[tuple[Moment, bytes]]
    ) -> None:
        if seen:
            self.ledger.saw({person: seen})
        self._tell([Said(person, moment, traits_in(body)) for moment, body in said])

    def _sum_up(self, new: Sequence[Row]) -> None:
        seen: dict[int, tuple[int, int]] = {}
        said: list[Said] = []
        for row in new:
            person = self._owner(row)
            if person is not None:
                first, last = seen.get(person, (row.sent_at, row.sent_at))
                seen[person] = min(first, row.sent_at), max(last, row.sent_at)
                if row.identifies and row.entry_no in self.traits:
                    said.append(Said(person, row.moment, self.traits[row.entry_no]))
        self.ledger.count(new)
        self.ledger.saw(seen)
        self._tell(said)
        self._tell_accounts(row for row in new if row.account is not None and row.identifies)

    def _owner(self, row: Row) -> int | None:
        if row.person is not None:
            return row.person
        return identity.owner(self.ledger.turns(row.profile), row.moment) if row.profile is not None else None

    def _tell(self, said: Iterable[Said]) -> None:
        """Sum up identifies: of each trait the newest value stays."""
        traits: dict[tuple[int, str], tuple[Moment, bytes]] = {}
        account_traits: dict[tuple[int, str, str], tuple[Moment, bytes]] = {}
        members = set()
        for person, moment, given in said:
            for trait, value in given.items():
                if trait == "$account" and isinstance(value, dict):
                    place = self._company(person, value)
                    if place:
                        members.add((place[0], person, place[1]))
                        _newest(account_traits, ((*place, *pair) for pair in _company_traits(value)), moment)
                elif trait != "email":
                    _newest(traits, ((person, trait, value),), moment)
        if traits:
            self.ledger.tell_traits(traits)
        if account_traits:
            self.ledger.tell_account_traits(account_traits)
        if members:
            self.ledger.join(members)

    def _company(self, person: int, account: Mapping[str, Any]) -> tuple[int, str] | None:
        """The account and group that `$account` speaks of; without a domain, the email's own."""
        project, email = self.ledger.email_of(person)
        stated = account.get("domain")
        domain = normal_domain(stated) if isinstance(stated, str) else None
        domain = domain or company_domain(email)
        return (self.ledger.account(project, domain), group_of(account)) if domain else None

    def _tell_accounts(self, rows: Iterable[Row]) -> None:
        traits: dict[tuple[int, str, str], tuple[Moment, bytes]] = {}
        for row in rows:
            given = self.traits.get(row.entry_no, {})
            place = (row.account or 0, group_of(given))
            _newest(traits, ((*place, *pair) for pair in _company_traits(given)), row.moment)
        if traits:
            self.ledger.tell_account_traits(traits)


def traits_in(body: bytes) -> dict[str, Any]:
    """The traits of a stored identify."""
    traits = orjson.loads(body).get("traits")
    return traits if isinstance(traits, dict) else {}


def _company_traits(account: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in account.items() if name not in {"domain", "group_id", "groupId"})


def _newest(kept: dict[Any, tuple[Moment, bytes]], said: Iterable[tuple[Any, ...]], moment: Moment) -> None:
    for *key, value in said:
        place = tuple(key)
        if place not in kept or kept[place][0] < moment:
            kept[place] = moment, orjson.dumps(value)
