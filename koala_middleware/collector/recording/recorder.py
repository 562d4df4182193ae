"""Records a group of batches: stores each entry once and updates who is who.

Must not know SQL or HTTP, and holds no transaction: a Ledger stores, `identity` has the rules, `summaries` the traits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from koala_middleware.collector import identity
from koala_middleware.collector.identity import Naming, Ownership
from koala_middleware.collector.recording.summaries import Summaries
from koala_middleware.collector.statements import IDENTIFY, SNAPSHOT
from koala_middleware.collector.store.contract import Ledger
from koala_middleware.collector.store.rows import EntryRow, KnownMessage
from koala_middleware.collector.validation.incoming import IncomingBatch, IncomingEntry


def record_batches(ledger: Ledger, batches: Sequence[tuple[int, IncomingBatch]]) -> list[int]:
    """Record a group of (request number, batch). Returns how many entries of each batch were new."""
    ledger.prepare_group(
        {(batch.key, batch.profile_id) for _, batch in batches if batch.profile_id},
        {(batch.key, email) for _, batch in batches for email in _emails_in(batch)},
    )
    numbers = ledger.entry_numbers(sum(len(batch.entries) for _, batch in batches))
    return _GroupRecorder(ledger, numbers).record(batches)


def _emails_in(batch: IncomingBatch) -> Iterator[str]:
    """The emails a batch names: its own, or without one those of its identifies."""
    if batch.email:
        yield batch.email
    elif not batch.handle:
        yield from (entry.email for entry in batch.entries if entry.email)


def _identifies(entry: IncomingEntry) -> int:
    if entry.kind != "identify":
        return 0
    return SNAPSHOT if entry.is_snapshot else IDENTIFY


class _GroupRecorder:
    """The steps for one group."""

    def __init__(self, ledger: Ledger, numbers: Sequence[int]) -> None:
        self._ledger = ledger
        self._first_new = numbers[0] if numbers else 0
        self._summaries = Summaries(ledger, self._first_new)
        self._numbers = iter(numbers)
        self._namings: defaultdict[int, list[Naming]] = defaultdict(list)

    def record(self, batches: Sequence[tuple[int, IncomingBatch]]) -> list[int]:
        rows = [self._rows(request_no, batch) for request_no, batch in batches]
        new = self._store(rows)
        self._update_ownerships()
        self._summaries.add_entries(new)
        return [len(of_batch) for of_batch in rows]

    def _rows(self, request_no: int, batch: IncomingBatch) -> list[EntryRow]:
        ledger = self._ledger
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
        entry: IncomingEntry,
        batch: IncomingBatch,
        request_no: int,
        belongs_to: tuple[int, int, int | None, int | None, int | None],
    ) -> EntryRow:
        row = EntryRow(
            next(self._numbers),
            *belongs_to,
            entry.sent_at,
            entry.message_id,
            batch.received_at,
            request_no,
            _identifies(entry),
            entry.body,
        )
        if entry.traits:
            self._summaries.traits[row.entry_no] = entry.traits
        return row

    def _store(self, rows: list[list[EntryRow]]) -> list[EntryRow]:
        """Store what is new, and leave only that in `rows`."""
        flat = self._without_repeats(rows)
        known = self._ledger.add(flat)
        if known:
            flat = self._without_known(rows, known)
        for row in flat:
            if row.person is not None and row.profile is not None:
                self._namings[row.profile].append(Naming(row.moment, row.person))
        return flat

    def _without_repeats(self, rows: list[list[EntryRow]]) -> list[EntryRow]:
        """Of an entry that comes twice in the group, the first stays, or the one that names a person."""
        first: dict[tuple[int, bytes], EntryRow] = {}
        for row in (row for of_batch in rows for row in of_batch):
            kept = first.setdefault((row.project, row.message_id), row)
            if kept.person is None and row.person is not None:
                first[row.project, row.message_id] = row
        if len(first) != sum(map(len, rows)):
            for of_batch in rows:
                of_batch[:] = [row for row in of_batch if first[row.project, row.message_id] is row]
        return [row for of_batch in rows for row in of_batch]

    def _without_known(
        self, rows: list[list[EntryRow]], known: Mapping[tuple[int, bytes], KnownMessage]
    ) -> list[EntryRow]:
        for of_batch in rows:
            for row in of_batch:
                before = known.get((row.project, row.message_id))
                if before and before.person is None and row.person is not None:
                    self._set_person(row, before)
            of_batch[:] = [row for row in of_batch if (row.project, row.message_id) not in known]
        return [row for of_batch in rows for row in of_batch]

    def _set_person(self, row: EntryRow, before: KnownMessage) -> None:
        """A retry may carry an entry in one batch with later ones, and so with the email they added."""
        if row.profile is None or row.person is None:
            return
        self._ledger.set_person(before.entry_no, row.person)
        self._namings[row.profile].append(Naming(row.moment, row.person))

    def _update_ownerships(self) -> None:
        """All ownerships first: summaries are computed from them as the whole group leaves them."""
        changed: dict[int, tuple[list[Ownership], list[Ownership]]] = {}
        for profile, namings in self._namings.items():
            old = self._ledger.ownerships(profile)
            new = list(old)
            identity.apply_namings(self._ledger.next_naming, profile, new, namings)
            if new != old:
                changed[profile] = old, new
        if changed:
            self._ledger.save_ownerships(changed)
            changes = [each for profile, was in changed.items() for each in identity.changes(profile, *was)]
            stored_before = self._ledger.with_entries({period for period, _ in changes}, self._first_new)
            self._summaries.move_entries([each for each in changes if each[0] in stored_before])
