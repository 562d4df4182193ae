"""Inspects a durable outbox from outside: waiting and refused entries. Adopts nothing.

Works beside living processes. Must not know the command line.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koala_middleware.delivery.outbox.folder import (
    DONE,
    REFUSED,
    WAITING,
    files_in,
    has_heir,
    open_file,
    read_file,
)
from koala_middleware.delivery.outbox.segment import decode, done_marks, reason_of
from koala_middleware.delivery.schedule.items import Waiting

_KEY = "key-"


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry in a file. `reason` is None for a waiting one."""

    item: Waiting
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """One line of an export: the subject, the arrival time, and the entry as it would be sent."""
        line = {**self.item.subject.identifiers(), "kind": self.item.kind, "at": self.item.at}
        if self.reason is not None:
            line["refused"] = self.reason
        return {**line, "entry": json.loads(self.item.body)}


@dataclass(frozen=True, slots=True)
class Status:
    """One key's outbox in numbers; `living` counts files that a process delivers from now."""

    key: str
    waiting: int
    refused: int
    damaged: int
    bytes: int
    living: int
    oldest_age: float | None


def keys(outbox: Path) -> list[Path]:
    """The directories of an outbox, one for each public API key."""
    return sorted(path for path in outbox.glob(_KEY + "*") if path.is_dir())


def status(directory: Path) -> Status:
    waiting = list(waiting_entries(directory))
    refused = sum(1 for _ in refused_entries(directory))
    good = [kept for kept in waiting if kept is not None]
    oldest = min((kept.item.at for kept in good), default=None)
    return Status(
        key=directory.name.removeprefix(_KEY),
        waiting=len(good),
        refused=refused,
        damaged=len(waiting) - len(good),
        bytes=sum(map(_size, directory.iterdir())),
        living=sum(_is_locked(path) for path in files_in(directory, WAITING)),
        oldest_age=None if oldest is None else max(time.time() - oldest, 0.0),
    )


def waiting_entries(directory: Path) -> Iterator[Kept | None]:
    """Entries in their order, file by file; None for each damaged line."""
    for path in files_in(directory, WAITING):
        done, offset = done_marks(path), 0
        for line in _lines(path):
            if offset not in done:
                item = decode(line)
                yield None if item is None else Kept(item, None)
            offset += len(line) + 1


def refused_entries(directory: Path) -> Iterator[Kept]:
    for path in files_in(directory, REFUSED):
        for line in _lines(path):
            if (item := decode(line)) is not None:
                yield Kept(item, reason_of(line))


def let_refused_wait_again(directory: Path) -> int:
    """Make refused entries wait again, as orphans. Returns their number."""
    moved = 0
    for path in files_in(directory, REFUSED):
        descriptor = open_file(path, os.O_RDONLY)
        try:
            # A process that is just writing to it finishes first, and starts a new file for the next.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            moved += sum(1 for _ in _lines(path))
            path.rename(path.with_name(f"{time.time_ns():020d}-{os.getpid()}-again{WAITING}"))
        finally:
            os.close(descriptor)
    return moved


def delete_refused(directory: Path) -> int:
    """Returns the number of entries."""
    return _delete(files_in(directory, REFUSED))


def delete_orphans(directory: Path) -> int:
    """Delete waiting entries in files that no living process holds or is about to read. Returns their number."""
    if has_heir(directory):
        return 0
    return _delete([path for path in files_in(directory, WAITING) if not _is_locked(path)])


def _delete(paths: list[Path]) -> int:
    deleted = 0
    for path in paths:
        deleted += sum(1 for _ in _lines(path)) - len(done_marks(path))
        path.unlink(missing_ok=True)
        path.with_suffix(DONE).unlink(missing_ok=True)
    return deleted


def _lines(path: Path) -> list[bytes]:
    try:
        return read_file(path).split(b"\n")[:-1]
    except FileNotFoundError:  # delivered meanwhile
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # as in _lines
        return 0


def _is_locked(path: Path) -> bool:
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
