"""The last requests as they arrived, trimmed from time to time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from psycopg import Connection

from koala_middleware.collector.store.mentions import mentions
from koala_middleware.collector.store.postgres.connection import without_nul
from koala_middleware.collector.store.rows import REFUSED_KEPT, TAKEN_KEPT, ReceivedRequest

_TRIMMED_EVERY = 1_000  # requests
_TRIMMING = 27503_02  # an advisory lock


def save(connection: Connection[Any], requests: list[ReceivedRequest]) -> None:
    with connection.cursor().copy("COPY request FROM STDIN") as copy:
        for request in requests:
            copy.write_row([without_nul(value) for value in request.row()])
    if requests[0].request_no // _TRIMMED_EVERY != requests[-1].request_no // _TRIMMED_EVERY:
        _trim(connection, requests[-1].request_no)


def delete_naming(connection: Connection[Any], names: Collection[str]) -> None:
    """Delete requests that mention one of the names. A cursor reads a few at a time: a body may be long."""
    mentioned = mentions(names)
    with connection.cursor(name="kept") as kept:
        kept.execute("SELECT request_no, body FROM request")
        gone = [number for number, body in kept if mentioned(body)]
    connection.execute("DELETE FROM request WHERE request_no = ANY(%s)", (gone,))


def _trim(connection: Connection[Any], newest: int) -> None:
    """By one collector at a time. Good requests do not displace refused ones."""
    locked = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_TRIMMING,)).fetchone()
    if locked == (True,):
        connection.execute(
            "DELETE FROM request WHERE outcome = 'taken' AND request_no <= %s", (newest - TAKEN_KEPT,)
        )
        connection.execute(
            "DELETE FROM request WHERE outcome <> 'taken' AND request_no <= "
            "(SELECT request_no FROM request WHERE outcome <> 'taken' ORDER BY request_no DESC OFFSET %s LIMIT 1)",
            (REFUSED_KEPT,),
        )
