"""The table of entries, partitioned by the time of arrival, so that expired entries are dropped with their partition.

A partition holds a day, a week or four weeks: about a tenth of what is kept. So --keep is late by a tenth at most, and
pages search few partitions. A partition's name says its days: a collector that was started with another --keep fits
its own partitions in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg import Connection, sql

from koala_middleware.collector.times import DAY

MAKING = 27503_01  # an advisory lock
_WIDTHS = (28, 7, 1)  # days; each is a multiple of the next, so their edges meet
_PARTITIONS = 10
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """Entries that arrived from day `start` to before day `end`, both since 1970."""

    start: int
    end: int

    @property
    def table(self) -> str:
        first, after = (_EPOCH + timedelta(days=day) for day in (self.start, self.end))
        return f"entry_{first:%Y_%m_%d}_to_{after:%Y_%m_%d}"

    @classmethod
    def of(cls, table: str) -> Partition:
        first, _, after = table.removeprefix("entry_").partition("_to_")
        return cls(*((_day(text) - _EPOCH).days for text in (first, after)))


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y_%m_%d").replace(tzinfo=UTC).date()


def width_for(keep: int | None) -> int:
    """Days in a partition, when entries are kept for so many milliseconds."""
    if keep is None:
        return _WIDTHS[0]
    return next((days for days in _WIDTHS if days * _PARTITIONS * DAY <= keep), _WIDTHS[-1])


def partition_for(day: int, width: int, there: Iterable[Partition]) -> Partition:
    """The partition for a day that none holds yet, fitted between its neighbors."""
    start = day - day % width
    neighbors = list(there)
    return Partition(
        max([start, *(partition.end for partition in neighbors if partition.end <= day)]),
        min([start + width, *(partition.start for partition in neighbors if partition.start > day)]),
    )


class PartitionMaker:
    """Makes the partitions that are needed."""

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection[Any]]], width: int) -> None:
        self._connect = connect
        self._width = width
        self._known: list[Partition] = []

    def ensure(self, *moments: int) -> None:
        """Make the partitions for entries that arrive at these moments."""
        if any(not self._holds(moment // DAY) for moment in moments):
            self._make({moment // DAY for moment in moments})

    def forget(self) -> None:
        """Other collectors may have dropped some."""
        self._known = []

    def _holds(self, day: int) -> bool:
        return any(partition.start <= day < partition.end for partition in self._known)

    def _make(self, days: Iterable[int]) -> None:
        """On another connection: a transaction that waits for new partitions must not keep them from being made."""
        with self._connect() as connection, connection.transaction():
            lock(connection)
            self._known = partitions(connection)
            for day in sorted(days):
                if not self._holds(day):
                    partition = partition_for(day, self._width, self._known)
                    _attach(connection, partition)
                    self._known.append(partition)


def lock(connection: Connection[Any]) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (MAKING,))


def partitions(connection: Connection[Any]) -> list[Partition]:
    rows = connection.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'entry'::regclass"
    )
    return sorted(Partition.of(name) for (name,) in rows)


def _attach(connection: Connection[Any], partition: Partition) -> None:
    """CREATE … PARTITION OF would wait for every reader, and block new ones meanwhile; attaching does not."""
    table = sql.Identifier(partition.table)
    connection.execute(
        sql.SQL("CREATE TABLE {} (LIKE entry INCLUDING DEFAULTS INCLUDING STORAGE)").format(table)
    )
    connection.execute(
        sql.SQL("ALTER TABLE entry ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            table, sql.Literal(partition.start * DAY), sql.Literal(partition.end * DAY)
        )
    )


def drop(connection: Connection[Any], partition: Partition) -> None:
    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(partition.table)))
