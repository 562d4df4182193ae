"""Refused entries, kept with their reason in files of their own for an operator.

They have a bound of their own, so that they take no room from what waits. Must not know why an entry was refused.
"""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Sequence
from errno import ENOSPC
from pathlib import Path

from koala_middleware.delivery.outbox import folder
from koala_middleware.delivery.outbox.segment import encode
from koala_middleware.delivery.schedule.items import Waiting
from koala_middleware.log_once import LogOnce


class Refused:
    """Appends to this process's file. Never raises."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._notices = LogOnce()

    def keep(self, items: Sequence[Waiting], reason: str) -> None:
        text = b"".join([encode(item.subject, item, item.ip, item.at, reason) for item in items])
        try:
            folder.prepare(self._directory)
            if _bytes_of_refused(self._directory) + len(text) > self._max_bytes:
                self._say("there are outbox_max_bytes of them already")
            else:
                append_refused(self._directory, text)
        except OSError as trouble:
            self._say(trouble.strerror or type(trouble).__name__)

    def _say(self, why: str) -> None:
        self._notices.error(f"refused entries are not kept aside: {why}")


def append_refused(directory: Path, text: bytes) -> None:
    """Append to this process's file of refused entries."""
    for attempt in itertools.count():
        path = directory / f"{os.getpid()}-{attempt}{folder.REFUSED}"
        descriptor = folder.open_file(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                append_whole(descriptor, text)
                return
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def append_whole(descriptor: int, text: bytes) -> None:
    """Append all or nothing, so that a full disk leaves no torn line. Raises OSError."""
    written = os.write(descriptor, text)
    if written != len(text):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(ENOSPC, "no space left for the whole record")


def _bytes_of_refused(directory: Path) -> int:
    with os.scandir(directory) as files:
        return sum(
            file.stat(follow_symlinks=False).st_size for file in files if file.name.endswith(folder.REFUSED)
        )
