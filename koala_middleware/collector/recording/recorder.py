"""Records a group of batches: stores each entry once and updates who is who.

Must not know SQL or HTTP, and holds no transaction: a Ledger stores, `identity` has the rules, `summaries` the traits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

from koala_middleware.collector import identity
from koala_middleware.collector.identity import Naming, Ownership
from koala_middleware.collector.recording.page_views import completed
from koala_middleware.collector.recording.summaries import Summaries
from koala_middleware.collector.stated_traits import IDENTIFY, SNAPSHOT
from koala_middleware.collector.store.contract import Ledger
from koala_middleware.collector.store.rows import EntryRow, KnownMessage
from koala_middleware.collector.validation.checked import IncomingBatch, IncomingEntry


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
        self._completed: dict[int, bytes] = {}  # bodies, by entry number

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
        self._drop_repeats_within(rows)
        self._drop_known(rows, self._ledger.add(_flat(rows)))
        for entry_no, body in self._completed.items():
            self._ledger.set_body(entry_no, body)
        new = _flat(rows)
        for row in new:
            if row.person is not None and row.profile is not None:
                self._namings[row.profile].append(Naming(row.moment, row.person))
        return new

    def _drop_repeats_within(self, rows: list[list[EntryRow]]) -> None:
        """Of an entry that arrives twice in the group, the first stays, or the one that names a person."""
        first: dict[tuple[int, bytes], EntryRow] = {}
        for of_batch in rows:
            of_batch[:] = [self._first_or_own_id(first, row) for row in of_batch]
        for of_batch in rows:
            of_batch[:] = [row for row in of_batch if first[row.project, row.message_id] is row]

    def _first_or_own_id(self, first: dict[tuple[int, bytes], EntryRow], row: EntryRow) -> EntryRow:
        """Put the row into `first` by its message id: its own one, if another person or kind has used that."""
        kept = first.setdefault((row.project, row.message_id), row)
        if not _is_same(kept, row):
            return self._first_or_own_id(first, _with_own_id(row))
        if kept.person is None and row.person is not None:
            first[row.project, row.message_id] = row
            self._complete(row.entry_no, row.body, kept.body)
        elif kept is not row:
            self._complete(kept.entry_no, kept.body, row.body)
        return row

    def _drop_known(
        self, rows: list[list[EntryRow]], known: Mapping[tuple[int, bytes], KnownMessage]
    ) -> None:
        """Drop what was stored before. An id that another person or kind has used already is replaced."""
        if not known:
            return
        renamed: set[int] = set()
        for of_batch in rows:
            for index, row in enumerate(of_batch):
                before = known.get((row.project, row.message_id))
                if before and not _is_same(before, row):
                    of_batch[index] = _with_own_id(row)
                    renamed.add(row.entry_no)
        known_again = self._ledger.add([row for row in _flat(rows) if row.entry_no in renamed])
        for of_batch in rows:
            of_batch[:] = [
                row
                for row in of_batch
                if not self._repeats(row, (known_again if row.entry_no in renamed else known))
            ]

    def _repeats(self, row: EntryRow, known: Mapping[tuple[int, bytes], KnownMessage]) -> bool:
        before = known.get((row.project, row.message_id))
        if before is None:
            return False
        if before.person is None and row.person is not None and row.profile is not None:
            # A retry may carry an entry in one batch with later ones, and so with the email they added.
            self._ledger.set_person(before.entry_no, row.person)
            self._namings[row.profile].append(Naming(row.moment, row.person))
        self._complete(before.entry_no, before.body, row.body)
        return True

    def _complete(self, entry_no: int, stored: bytes | str, repeat: bytes) -> None:
        """A page view that arrives again may have the end of the visit."""
        if b'"visit_end"' in repeat or b'"focus_intervals"' in repeat:
            body = completed(self._completed.get(entry_no, stored), repeat)
            if body is not None:
                self._completed[entry_no] = body

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


def _flat(rows: list[list[EntryRow]]) -> list[EntryRow]:
    return [row for of_batch in rows for row in of_batch]


def _is_same(one: EntryRow | KnownMessage, other: EntryRow) -> bool:
    """Whether two entries with one message id are of one kind (an event: of one name) and about one subject."""
    return one.label == other.label and _subject(one) == _subject(other)


def _subject(row: EntryRow | KnownMessage) -> tuple[str, int | None]:
    """The profile, where there is one: a repeat may have learned the person meanwhile."""
    if row.profile is not None:
        return "profile", row.profile
    return ("account", row.account) if row.account is not None else ("person", row.person)


def _with_own_id(row: EntryRow) -> EntryRow:
    """The entry with a message id that only its own repeats have."""
    own = blake2b(repr((row.message_id, row.label, _subject(row))).encode(), digest_size=16)
    return row._replace(message_id=own.digest())
