"""The numbers of what a group of batches names, found or made, and locked until the group is written.

How several collectors keep the same identity rules: a group first locks, in one order everywhere, the rows of all
profiles it touches, then those of all people they may belong to. What decides whose an entry is (a profile's
ownerships, and the summaries of a person's entries) is read and written only under these locks. Two collectors that
meet over one visitor or one email take turns; all others pass side by side.

Row locks, because their number is not limited as that of advisory locks is, and because nothing is repeated: under
SERIALIZABLE nearly every group of 256 would collide with its neighbors on index pages. A rare deadlock remains, by way
of companies; PostgreSQL resolves it and the writer tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from koala_middleware.collector.store.postgres.connection import columns

Name = tuple[Any, ...]
_CACHED = 200_000  # numbers


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table whose rows have a name. `columns` maps each part of the name to its type."""

    name: str
    columns: Mapping[str, str]
    locked: bool = False

    @property
    def number(self) -> str:
        return f"{self.name}_no"

    @property
    def parts(self) -> str:
        return ", ".join(self.columns)

    @property
    def given(self) -> str:
        """The names asked for, as a table within the statement."""
        arrays = ", ".join(f"%s::{type_}[]" for type_ in self.columns.values())
        return f"unnest({arrays}) AS given({self.parts})"


PROJECT = Table("project", {"key": "text"})
PROFILE = Table("profile", {"project_no": "bigint", "profile_id": "text"}, locked=True)
PERSON = Table("person", {"project_no": "bigint", "email": "text"})
ACCOUNT = Table("account", {"project_no": "bigint", "handle": "text"})
LABEL = Table("label", {"project_no": "bigint", "kind": "text", "name": "text"})


def numbers(
    connection: Connection[Any], table: Table, names: Iterable[Name]
) -> tuple[dict[Name, int], set[Name]]:
    """The number of each name, and which of them are new. Rows of `locked` tables are locked when this returns."""
    wanted = sorted(names)
    found: dict[Name, int] = {}
    new: set[Name] = set()
    while missing := [name for name in wanted if name not in found]:
        found.update(_stored(connection, table, missing))
        missing = [name for name in missing if name not in found]
        made = _made(connection, table, missing) if missing else {}
        new |= made.keys()
        found.update(made)  # a row that another collector makes meanwhile is found in the next round
    return found, new


def _stored(connection: Connection[Any], table: Table, names: Sequence[Name]) -> dict[Name, int]:
    lock = f"ORDER BY {table.number} FOR NO KEY UPDATE OF {table.name}" if table.locked else ""
    rows = connection.execute(
        f"SELECT {table.number}, {table.parts} FROM {table.given} JOIN {table.name} USING ({table.parts}) {lock}",
        columns(names),
    )
    return {tuple(name): number for number, *name in rows}


def _made(connection: Connection[Any], table: Table, names: Sequence[Name]) -> dict[Name, int]:
    rows = connection.execute(
        f"INSERT INTO {table.name} ({table.parts}) SELECT {table.parts} FROM {table.given} ORDER BY {table.parts} "
        f"ON CONFLICT DO NOTHING RETURNING {table.number}, {table.parts}",
        columns(names),
    )
    return {tuple(name): number for number, *name in rows}


def lock_people(connection: Connection[Any], people: Collection[int]) -> dict[int, tuple[int, str]]:
    """Lock people's rows. Returns the project and email of those that exist."""
    rows = connection.execute(
        "SELECT person_no, project_no, email FROM person WHERE person_no = ANY(%s) ORDER BY person_no "
        "FOR NO KEY UPDATE",
        (sorted(people),),
    )
    return {number: (project, email) for number, project, email in rows}


def lock_profiles(connection: Connection[Any], profiles: Collection[int]) -> None:
    """Lock profiles' rows."""
    connection.execute(
        "SELECT FROM profile WHERE profile_no = ANY(%s) ORDER BY profile_no FOR NO KEY UPDATE",
        (sorted(profiles),),
    )


class NumberCache:
    """Numbers of rows that are never deleted, remembered from one group to the next."""

    def __init__(self, connection: Callable[[], Connection[Any]]) -> None:
        self._connection = connection
        self._numbers: dict[tuple[Table, Name], int] = {}

    def number(self, table: Table, *name: Any) -> int:
        number = self._numbers.get((table, name))
        return number if number is not None else self.numbers(table, [name])[name]

    def numbers(self, table: Table, names: Collection[Name]) -> dict[Name, int]:
        if len(self._numbers) >= _CACHED:
            self.forget()
        unknown = [name for name in names if (table, name) not in self._numbers]
        if unknown:
            found, _ = numbers(self._connection(), table, unknown)
            self._numbers.update(((table, name), number) for name, number in found.items())
        return {name: self._numbers[table, name] for name in names}

    def forget(self) -> None:
        """After a rollback: the transaction may have made some of them."""
        self._numbers.clear()
