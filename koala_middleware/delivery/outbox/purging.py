"""Purges people from the files of a durable outbox that no living process holds.

A note tells living processes, which apply it at their next scan. Must not know lanes.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from koala_middleware.delivery.outbox.folder import (
    NEW,
    PURGE,
    REFUSED,
    WAITING,
    files_in,
    open_file,
    read_file,
)
from koala_middleware.delivery.outbox.inspection import refused_entries, waiting_entries
from koala_middleware.delivery.outbox.segment import Segment, decode
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.subjects import Subject


def known_in(directory: Path, people: People) -> People:
    """Add the profiles that entries in the directory show to belong to these people. Raises OSError."""
    return replace(people.with_profiles_of(_subjects(directory)), before=time.time())


def purge_directory(directory: Path, people: People) -> int:
    """Purge orphans and refused entries, and leave a note for living processes. Returns the number. Raises OSError."""
    if not directory.is_dir():
        return 0
    _leave_note(directory, people)
    orphans = sum(_out_of_orphan(path, people) for path in files_in(directory, WAITING))
    return orphans + sum(_out_of_refused(path, people) for path in files_in(directory, REFUSED))


def notes(directory: Path) -> Iterator[tuple[str, People]]:
    """Every readable note, by its file name."""
    for path in files_in(directory, PURGE):
        try:
            yield path.name, People.from_json(json.loads(read_file(path)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue


def _subjects(directory: Path) -> Iterator[Subject]:
    yield from (kept.item.subject for kept in waiting_entries(directory) if kept is not None)
    yield from (kept.item.subject for kept in refused_entries(directory))


def _leave_note(directory: Path, people: People) -> None:
    path = directory / f"{time.time_ns():020d}-{os.getpid()}{PURGE}"
    _write(path, json.dumps(people.as_json()).encode())


def _out_of_orphan(path: Path, people: People) -> int:
    try:
        orphan = Segment.adopt(path)
    except OSError:
        return 0  # not ours, or unreadable
    if orphan is None:
        return 0  # a living process holds it, and applies the note
    try:
        taken = len(orphan.take_out(people))
        if orphan.undone <= 0:
            orphan.remove()
        return taken
    finally:
        orphan.close()


def _out_of_refused(path: Path, people: People) -> int:
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except OSError:
        return 0
    try:
        # A process that is just writing to it finishes first, and starts a new file for the next.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        lines = read_file(path).split(b"\n")[:-1]
        kept = [line for line in lines if not _theirs(line, people)]
        if not kept:
            path.unlink()
        elif len(kept) < len(lines):
            _write(path, b"".join(line + b"\n" for line in kept))
        return len(lines) - len(kept)
    finally:
        os.close(descriptor)


def _theirs(line: bytes, people: People) -> bool:
    item = decode(line)
    return item is not None and people.own(item.subject, item.at)


def _write(path: Path, content: bytes) -> None:
    """Write the file completely or not at all."""
    new = path.with_name(path.name + NEW)
    descriptor = open_file(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    new.rename(path)
