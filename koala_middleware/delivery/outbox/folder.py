"""The folder of a durable outbox: its owner, and how its files are named and opened.

Entries are personal data, and what lies in the folder is delivered: so the folder is its owner's alone, and only
regular files are opened, never through a link. Must not know what is in them.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from errno import EEXIST, EISDIR, ELOOP, ENXIO, EPERM
from pathlib import Path

WAITING = ".waiting"
DONE = ".done"
REFUSED = ".refused"
PURGE = ".purge"
NEW = ".new"
HEIR = "heir.lock"

_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700
_OTHERS_WRITE = 0o022
# A FIFO must not block us (NONBLOCK), nor a link lead elsewhere (NOFOLLOW).
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotOursError(PermissionError):
    """The file or folder belongs to another user, or is not a regular file."""

    def __init__(self, what: str) -> None:
        super().__init__(EPERM, what)


def prepare(directory: Path) -> None:
    """Create the folder if it is missing. Raises OSError, also if it belongs to another user."""
    try:
        directory.mkdir(mode=_PRIVATE_FOLDER, parents=True)
    except OSError as error:
        if error.errno != EEXIST or not directory.is_dir():
            raise
        found = directory.lstat()
        if stat.S_ISLNK(found.st_mode):
            found = directory.stat()
        if found.st_uid != os.geteuid() and os.geteuid() != 0:
            raise NotOursError("it belongs to another user") from None
        if found.st_mode & _OTHERS_WRITE:
            directory.chmod(_PRIVATE_FOLDER)


def open_file(path: Path, flags: int) -> int:
    """Open a regular file that belongs to us. Raises OSError."""
    try:
        descriptor = os.open(path, flags | _SAFE, _PRIVATE_FILE)
    except OSError as error:
        if error.errno in {EISDIR, ELOOP, ENXIO}:
            raise NotOursError("it is no regular file") from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotOursError("it is no regular file")
        if found.st_uid != os.geteuid() and os.geteuid() != 0:
            raise NotOursError("it belongs to another user")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def files_in(directory: Path, suffix: str) -> list[Path]:
    """The regular files with this suffix, oldest first."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as found:
        return sorted(
            Path(file.path)
            for file in found
            if file.name.endswith(suffix) and file.is_file(follow_symlinks=False)
        )
    return []


def read_file(path: Path) -> bytes:
    """Read a regular file. Raises OSError."""
    with open(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read()


def locked(path: Path, flags: int) -> int | None:
    """Open and lock a file; None if another process holds the lock, or the file is gone.

    Raises OSError.
    """
    try:
        descriptor = open_file(path, flags)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:  # else it was deleted meanwhile
            return descriptor
    except BlockingIOError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


class Heir:
    """The right to adopt orphans. One process has it at a time, so that files of a dead process are read in order."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / HEIR
        self._descriptor: int | None = None

    def claim(self) -> bool:
        """Try to get the right. Raises OSError."""
        if self._descriptor is None:
            self._descriptor = locked(self._path, os.O_CREAT | os.O_RDWR)
        return self._descriptor is not None

    def give_up(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                self._path.unlink()
            os.close(descriptor)

    def abandon(self) -> None:
        """In a forked child, leave the right to the parent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def has_heir(directory: Path) -> bool:
    """A living process is taking over what dead ones left. Raises OSError."""
    try:
        descriptor = locked(directory / HEIR, os.O_RDWR)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return (directory / HEIR).exists()
    os.close(descriptor)
    return False
