"""Telling other collectors on the same database that something was written, and hearing it from them.

A few times a second at most, on a separate connection: with NOTIFY inside the writing transactions, their commits
would wait for one another.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from psycopg import Connection

from koala_middleware.collector.store.errors import DatabaseUnavailable
from koala_middleware.collector.store.postgres.errors import translated_errors

log = logging.getLogger("koala_middleware.collector")

PAUSE = 0.2  # seconds between two checks of what was written here
RETRY_SECONDS = 1.0  # seconds until the next try when the database is away
_CHANNEL = "koala_collector"


class Notifications:
    """A thread that notifies and listens.

    Attributes:
        heard: Changes whenever another collector may have written.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection[Any]]]) -> None:
        self._connect = connect
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.changes_heard = 0

    def watch(self, written: Callable[[], int]) -> None:
        """Start. `written` counts what this collector has written."""
        self._thread = threading.Thread(
            target=self._run, args=(written,), name="koala-collector-news", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, written: Callable[[], int]) -> None:
        while not self._stopping.is_set():
            try:
                with translated_errors(), self._connect() as connection:
                    self._exchange(connection, written)
            except DatabaseUnavailable:
                self._stopping.wait(RETRY_SECONDS)
            except Exception:
                log.exception("Other collectors' changes cannot be heard; trying again in a second")
                self._stopping.wait(RETRY_SECONDS)

    def _exchange(self, connection: Connection[Any], written: Callable[[], int]) -> None:
        connection.execute(f"LISTEN {_CHANNEL}")
        self.changes_heard += 1  # whatever was announced while nobody listened
        last = written()
        while not self._stopping.is_set():
            for note in connection.notifies(timeout=PAUSE, stop_after=1):
                self.changes_heard += note.pid != connection.info.backend_pid
            if written() != last:
                last = written()
                connection.execute(f"NOTIFY {_CHANNEL}")
