"""What is known of people and companies: traits, memberships, first and last seen, summarized from their entries.

Must not know SQL, nor decide who is who: it asks the ledger and `identity`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from koala_middleware.collector import identity
from koala_middleware.collector.identity import Moment, Period
from koala_middleware.collector.stated_traits import SNAPSHOT, Identify, news, statements, traits_in
from koala_middleware.collector.store.contract import Ledger
from koala_middleware.collector.store.rows import EntryRow
from koala_middleware.collector.validation.emails_and_domains import company_domain, normal_domain
from koala_middleware.collector.validation.entries import group_of


class TraitUpdate(NamedTuple):
    """The traits that one identify states of a person."""

    person: int
    moment: Moment
    traits: Mapping[str, Any]


class Summaries:
    """Updates the summaries of one group.

    Attributes:
        traits: What the group's new identifies state, by entry number.
    """

    def __init__(self, ledger: Ledger, first_new: int) -> None:
        """`first_new`: the number of the group's first entry."""
        self._ledger = ledger
        self._first_new = first_new
        self.traits: dict[int, dict[str, Any]] = {}

    def add_entries(self, new: Sequence[EntryRow]) -> None:
        """Add new entries to the summaries of whoever they belong to."""
        seen: dict[int, tuple[int, int]] = {}
        updates: list[TraitUpdate] = []
        outdated: set[int] = set()
        for row in new:
            person = self._owner(row)
            if person is not None:
                first, last = seen.get(person, (row.sent_at, row.sent_at))
                seen[person] = min(first, row.sent_at), max(last, row.sent_at)
                if row.identifies and row.entry_no in self.traits:
                    updates.append(TraitUpdate(person, row.moment, self._stated(row)))
                if row.identifies == SNAPSHOT and self._is_late(row):
                    outdated.add(person)
        self._ledger.count_entries(new)
        self._ledger.widen_seen(seen)
        self._update_people(updates)
        for person in sorted(outdated):
            self._compute_again(person)
        self._update_accounts(row for row in new if row.account is not None and row.identifies)

    def move_entries(self, changes: Sequence[tuple[Period, int | None]]) -> None:
        """Earlier entries changed their owner: compute the former owner's summaries again, add to the new owner's."""
        for person in sorted({was for _, was in changes if was is not None}):
            self._compute_again(person)
        for period, _ in changes:
            if period.person is not None:
                self._add(period.person, self._ledger.seen_within(period), self._ledger.identifies(period))

    def _compute_again(self, person: int) -> None:
        self._ledger.clear_summaries(person)
        self._add(person, self._ledger.seen_of(person), self._ledger.identifies_without_profile(person))
        for period in self._ledger.periods_of(person):
            self._add(person, None, self._ledger.identifies(period))

    def _add(self, person: int, seen: tuple[int, int] | None, identifies: Iterable[Identify]) -> None:
        if seen:
            self._ledger.widen_seen({person: seen})
        self._update_people(TraitUpdate(person, *stated) for stated in statements(identifies))

    def _stated(self, row: EntryRow) -> Mapping[str, Any]:
        traits = self.traits[row.entry_no]
        if row.identifies != SNAPSHOT or row.profile is None:
            return traits
        previous = self._ledger.snapshot_before(self._period(row), row.moment)
        return news(traits, traits_in(previous)) if previous else traits

    def _is_late(self, row: EntryRow) -> bool:
        """Whether a later snapshot was stored before, which now may state less than it did."""
        return row.profile is not None and self._ledger.has_later_snapshot(
            self._period(row), row.moment, self._first_new
        )

    def _period(self, row: EntryRow) -> Period:
        profile = row.profile or 0
        return identity.period_at(profile, self._ledger.ownerships(profile), row.moment)

    def _owner(self, row: EntryRow) -> int | None:
        if row.person is not None:
            return row.person
        if row.profile is None:
            return None
        return identity.owner(self._ledger.ownerships(row.profile), row.moment)

    def _update_people(self, updates: Iterable[TraitUpdate]) -> None:
        """The newest value of each trait stays."""
        traits: dict[tuple[int, str], tuple[Moment, bytes]] = {}
        account_traits: dict[tuple[int, str, str], tuple[Moment, bytes]] = {}
        members = set()
        for person, moment, given in updates:
            for trait, value in given.items():
                if trait == "$account" and isinstance(value, dict):
                    company = self._company(person, value)
                    if company:
                        members.add((company[0], person, company[1]))
                        stated = ((*company, *pair) for pair in _company_traits(value))
                        _keep_newest(account_traits, stated, moment)
                elif trait != "email":
                    _keep_newest(traits, ((person, trait, value),), moment)
        if traits:
            self._ledger.update_traits(traits)
        if account_traits:
            self._ledger.update_account_traits(account_traits)
        if members:
            self._ledger.add_members(members)

    def _company(self, person: int, account: Mapping[str, Any]) -> tuple[int, str] | None:
        """The account and group that `$account` names. Without a domain it is the email's own company."""
        project, email = self._ledger.email_of(person)
        stated = account.get("domain")
        domain = normal_domain(stated) if isinstance(stated, str) else None
        domain = domain or company_domain(email)
        return (self._ledger.account(project, domain), group_of(account)) if domain else None

    def _update_accounts(self, rows: Iterable[EntryRow]) -> None:
        traits: dict[tuple[int, str, str], tuple[Moment, bytes]] = {}
        for row in rows:
            given = self.traits.get(row.entry_no, {})
            company = (row.account or 0, group_of(given))
            _keep_newest(traits, ((*company, *pair) for pair in _company_traits(given)), row.moment)
        if traits:
            self._ledger.update_account_traits(traits)


def _company_traits(account: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in account.items() if name not in {"domain", "group_id", "groupId"})


def _keep_newest(
    newest: dict[Any, tuple[Moment, bytes]], stated: Iterable[tuple[Any, ...]], moment: Moment
) -> None:
    """`stated` has tuples of a trait's place and its value."""
    for *place, value in stated:
        key = tuple(place)
        if key not in newest or newest[key][0] < moment:
            newest[key] = moment, orjson.dumps(value)
