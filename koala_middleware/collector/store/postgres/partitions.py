"""The table of entries in pieces by the time of arrival, so that what is old goes by dropping a piece.

A piece is a day, a week or four weeks: about a tenth of what is kept, so that --keep is late by a tenth at most, and
pages have few pieces to look through. Their names tell their days: a collector that was told otherwise before fits
its own pieces in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg import Connection, sql

DAY = 24 * 60 * 60 * 1000
MAKING = 27503_01  # the advisory lock of whoever makes or drops pieces
_WIDTHS = (28, 7, 1)  # days; each is a multiple of the next, so their edges meet
_PIECES = 10
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """Entries that arrived from day `start` to before day `end`, both since 1970."""

    start: int
    end: int

    @property
    def table(self) -> str:
        first, after = (_EPOCH + timedelta(days=day) for day in (self.start, self.end))
        return f"entry_{first:%Y_%m_%d}_to_{after:%Y_%m_%d}"

    @classmethod
    def of(cls, table: str) -> Piece:
        first, _, after = table.removeprefix("entry_").partition("_to_")
        return cls(*((_day(text) - _EPOCH).days for text in (first, after)))


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y_%m_%d").replace(tzinfo=UTC).date()


def width_for(keep: int | None) -> int:
    """Days in a piece, where entries are kept for so many milliseconds."""
    if keep is None:
        return _WIDTHS[0]
    return next((days for days in _WIDTHS if days * _PIECES * DAY <= keep), _WIDTHS[-1])


def piece_for(day: int, width: int, there: Iterable[Piece]) -> Piece:
    """The piece to make for a day that no piece holds, fitted between its neighbours."""
    start = day - day % width
    neighbours = list(there)
    return Piece(
        max([start, *(piece.end for piece in neighbours if piece.end <= day)]),
        min([start + width, *(piece.start for piece in neighbours if piece.start > day)]),
    )


class Partitions:
    """The pieces there are, and new ones when they are needed."""

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection[Any]]], width: int) -> None:
        self._connect = connect
        self._width = width
        self._known: list[Piece] = []

    def cover(self, *moments: int) -> None:
        """See to it that entries that arrive at these moments have a place."""
        if any(not self._holds(moment // DAY) for moment in moments):
            self._make({moment // DAY for moment in moments})

    def forget(self) -> None:
        """Others may have dropped some."""
        self._known = []

    def _holds(self, day: int) -> bool:
        return any(piece.start <= day < piece.end for piece in self._known)

    def _make(self, days: Iterable[int]) -> None:
        """On a connection of its own: what waits for new pieces must not hold up their making."""
        with self._connect() as connection, connection.transaction():
            lock(connection)
            self._known = pieces(connection)
            for day in sorted(days):
                if not self._holds(day):
                    piece = piece_for(day, self._width, self._known)
                    _attach(connection, piece)
                    self._known.append(piece)


def lock(connection: Connection[Any]) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (MAKING,))


def pieces(connection: Connection[Any]) -> list[Piece]:
    rows = connection.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'entry'::regclass"
    )
    return sorted(Piece.of(name) for (name,) in rows)


def _attach(connection: Connection[Any], piece: Piece) -> None:
    """Made aside and attached: CREATE … PARTITION OF would wait for every reader, and keep out new ones meanwhile."""
    table = sql.Identifier(piece.table)
    connection.execute(
        sql.SQL("CREATE TABLE {} (LIKE entry INCLUDING DEFAULTS INCLUDING STORAGE)").format(table)
    )
    connection.execute(
        sql.SQL("ALTER TABLE entry ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            table, sql.Literal(piece.start * DAY), sql.Literal(piece.end * DAY)
        )
    )


def drop(connection: Connection[Any], piece: Piece) -> None:
    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(piece.table)))
