"""The ledger: how many entries came, and what became of each. Counts entries, never looks into them.

Must not know outboxes or threads: whoever holds the outbox's lock writes here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

OUTBOX_FULL = "outbox full"
TOO_OLD = "too old"
CORRUPT = "corrupt"
ENDED = "process ended"
UNANSWERED = "unanswered at the end"  # on its way when the process ended: the endpoint may have it
OFF = "delivery off"
ERASED = "erased"


@dataclass(slots=True)
class Ledger:
    """Entries by fate; those that wait are counted by the outbox that has them.

    What is added is counted before: a call between reading a sum and writing it would let in a signal handler, which
    keeps these same books.
    """

    accepted: int = 0
    adopted: int = 0
    delivered: int = 0
    refused: int = 0
    retries: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    last_success: float | None = None

    def drop(self, entries: int, reason: str) -> None:
        if entries:
            self.dropped[reason] += entries

    @property
    def settled(self) -> int:
        return self.delivered + self.refused + self.dropped.total()
