"""How shared SQL reaches a database: statements with question marks, and the few places where dialects differ."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

Rows = list[tuple[Any, ...]]


class SqlConnection(Protocol):
    """A connection to one database.

    Attributes:
        like: The comparison with a pattern that ignores case.
        by_naming: How a statement asks for the index of entries that name a person; empty where the planner finds it.
    """

    like: str
    by_naming: str

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Execute a statement with a question mark for each value. Returns its rows."""

    def any_of(self, column: str, numbers: Collection[int]) -> tuple[str, list[Any]]:
        """A condition that a column is one of the numbers, and the condition's values."""
