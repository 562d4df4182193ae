"""Orphans: files of dead processes in the outbox's folder.

Finds them, and decides whether this process is the one that takes them over. Must not know the schedule.
"""

from __future__ import annotations

import os
import time
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.outbox.folder import DONE, NEW, PURGE, REFUSED, WAITING, Heir
from koala_middleware.delivery.outbox.log import trouble_of
from koala_middleware.delivery.outbox.segment import Segment

_PLAUSIBLE = 1_577_836_800.0  # 2020: an earlier time comes from a clock that was not set


@dataclass(slots=True)
class Found:
    """Attributes:
    adopted: What is ours from now on, oldest first, each open and locked.
    others: Bytes of what waits in other processes' files.
    """

    adopted: list[Segment] = field(default_factory=list)
    others: int = 0


def plausible(at: float) -> bool:
    """Whether a time comes from a clock that was set."""
    return at > _PLAUSIBLE


class Orphans:
    """Attributes: `trouble` describes files that cannot be adopted; empty if there are none."""

    def __init__(self, directory: Path, max_age: float) -> None:
        self._directory = directory
        self._heir = Heir(directory)
        self._max_age = max_age
        self.trouble = ""

    def find(self, ours: Container[str]) -> Found:
        """Adopt orphans unless another process does, and delete expired ones. Raises OSError."""
        found = Found()
        not_ours = 0
        self.trouble = ""
        for path in self._files():
            if path.stem in ours:
                continue
            if path.suffix != WAITING:
                found.others += self._bytes_left(path)
                continue
            orphan = None
            try:
                orphan = Segment.adopt(path) if self._heir.claim() else None
            except PermissionError:
                not_ours += 1
            except OSError as trouble:  # of this file alone
                self.trouble = f"a file cannot be read ({trouble_of(trouble)})"
            if orphan is None:
                found.others += _size(path)
            else:
                found.adopted.append(orphan)
                age = max(time.time() - orphan.written_at, 0.0) if plausible(orphan.written_at) else 0.0
                orphan.written_at = monotonic() - age
        if not_ours:
            self.trouble = f"{not_ours} files are not ours and are not delivered"
        return found

    def names(self) -> set[str]:
        """The names of all files with waiting entries. Raises OSError."""
        return {path.stem for path in self._files() if path.suffix == WAITING}

    def give_up(self) -> None:
        """Release the right to adopt."""
        self._heir.give_up()

    def abandon(self) -> None:
        self._heir.abandon()

    def _files(self) -> list[Path]:
        try:
            with os.scandir(self._directory) as files:
                return sorted(Path(file.path) for file in files)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _bytes_left(self, path: Path) -> int:
        """The size of another process's file; 0 if it was obsolete and is deleted now."""
        try:
            found = path.lstat()
            too_old = path.suffix in {REFUSED, NEW, PURGE} and time.time() - found.st_mtime > self._max_age
            if too_old or (path.suffix == DONE and not path.with_suffix(WAITING).exists()):
                path.unlink()
                return 0
        except OSError:
            return 0  # gone meanwhile
        return 0 if path.suffix == REFUSED else found.st_size


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
