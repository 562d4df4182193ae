"""Where the collector keeps what it takes: the contract. One module per database fulfils it.

A store has two sides: `ledger()`, for the one thread that writes, and `reader()`, for pages and exports. Neither
knows who is who; both tell identity.py and recording.py what is stored. Whatever a store is asked, it raises
writer.Away while its database cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any, Protocol

from koala_middleware.collector.recording.writer import GroupLedger
from koala_middleware.collector.store.records import Reader

# In one transaction, so that ingestion waits for tens of milliseconds at most:
CHUNK = 5_000  # entries deleted
PEOPLE = 500  # people looked at


class ForgettingLedger(GroupLedger, Protocol):
    """A ledger that can also let go."""

    def erase(self, email: str) -> dict[str, Any]:
        """Delete the people under an email in all projects.

        Answers what went: `{"events": 3, "identifies": 1, "page_views": 0, "profiles": ["3e6a…"]}`.
        """

    def forget_requests(self, names: Collection[str]) -> None:
        """Delete the raw requests that mention one of these emails or profiles."""

    def keep_receipt(self, deletion_id: str, created_at: int, document: str) -> None: ...
    def overwrite_deleted(self) -> bool:
        """Leave nothing of what was deleted on disk, as far as the database can. Outside a transaction.

        False: somebody who reads is in the way; come again.
        """

    def expire_entries(self, before: int) -> int:
        """Delete up to CHUNK entries that arrived before a moment. Fewer than CHUNK: that was all.

        A store that lets go of whole days at once may keep the last ones for a little longer.
        """

    def expire_people(self, before: int, after: int) -> int | None:
        """Delete people last seen before a moment of whom no entry is left, and what only they needed.

        Looks at up to PEOPLE with numbers above `after`. Answers the last one; None: that was all.
        """

    def expire_rest(self, before: int) -> bool:
        """Delete profiles that hold nothing, and counts and raw requests from before a moment. False: there is more."""


class Store(Protocol):
    """A database."""

    def prepare(self) -> None:
        """Make or check the schema; where only one may write, take its place. Raises RuntimeError."""

    def ledger(self) -> ForgettingLedger:
        """The writer's side; only its own thread may use it."""

    def reader(self) -> AbstractContextManager[Reader]:
        """One snapshot of what is stored. For one thread at a time."""

    def follow(self, written: Callable[[], int]) -> None:
        """Begin to tell other collectors on this database whenever `written()` changes, and to hear them."""

    @property
    def heard(self) -> int:
        """Changes whenever another collector may have written."""

    def answers(self) -> bool:
        """Whether the database can be asked now."""

    def close(self) -> None: ...
    def size(self) -> int:
        """Bytes on disk."""

    def secret(self) -> str:
        """What this database's login cookies are signed with; made on first use."""

    def keep_login(self, name: str, password_hash: str) -> None:
        """Add a login or change it. Works beside a running collector, like `drop_login`."""

    def drop_login(self, name: str) -> bool:
        """Whether there was one."""
