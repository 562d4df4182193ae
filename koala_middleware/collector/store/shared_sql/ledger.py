"""The part of the ledger that both databases write with the same SQL. See contract.Ledger.

Must not know who is who, nor what a batch means: it looks up, adds and summarizes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

from koala_middleware.collector.store.shared_sql.ownership_queries import OwnershipQueries

_PAGES = "x" * 64 * 1024


class SqlLedger(OwnershipQueries, ABC):
    """What remains to a subclass is what its database does in its own way."""

    def check_writable(self) -> None:
        self.sql.rows("INSERT INTO meta VALUES ('check', ?)", (_PAGES,))
        self.sql.rows("DELETE FROM meta WHERE name = 'check'")

    def set_person(self, entry_no: int, person: int) -> None:
        self.sql.rows("UPDATE entry SET person_no = ? WHERE entry_no = ?", (person, entry_no))

    def set_body(self, entry_no: int, body: bytes) -> None:
        self.sql.rows("UPDATE entry SET body = ? WHERE entry_no = ?", (body.decode(), entry_no))

    def clear_summaries(self, person: int) -> None:
        for table in ("trait", "member"):
            self.sql.rows(f"DELETE FROM {table} WHERE person_no = ?", (person,))
        self.sql.rows("UPDATE person SET first_seen = NULL, last_seen = NULL WHERE person_no = ?", (person,))
        self._join_company(person)

    @abstractmethod
    def _join_company(self, person: int) -> None:
        """Make the person a member of their email's company."""

    def erase(self, email: str) -> dict[str, Any]:
        counts: Counter[str] = Counter(identifies=0, events=0, page_views=0)
        profiles: list[str] = []
        for (person,) in self.sql.rows("SELECT person_no FROM person WHERE email = ? ORDER BY 1", (email,)):
            of_person, its_profiles = self._erase_person(person)
            counts.update(of_person)
            profiles += its_profiles
        return {**counts, "profiles": profiles}

    @abstractmethod
    def _erase_person(self, person: int) -> tuple[Counter[str], Sequence[str]]:
        """Delete a person and all that is theirs. Returns how many entries of each array, and which profiles."""

    def save_receipt(self, deletion_id: str, created_at: int, document: str) -> None:
        self.sql.rows("INSERT INTO deletion VALUES (?, ?, ?)", (deletion_id, created_at, document))
