"""Processes: one sender per configuration in each, none inherited over a fork, all closed at the end.

Must not know how a sender delivers. Nothing is started or registered before the first entry.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING
from weakref import WeakSet, WeakValueDictionary

from koala_middleware.config.settings import KoalaConfig

if TYPE_CHECKING:
    from koala_middleware.delivery.sending.sender import Sender

# Every setting that delivery reads: clients that are equal in these can share a sender.
_ABOUT_THE_ENDPOINT = ("public_api_key", "endpoint", "user_agent", "request_timeout", "concurrency")
_ABOUT_THE_BROKER = ("transport", "celery_app", "broker", "broker_options", "queue", "shards")
_ABOUT_TIME = ("delivery", "flush_interval", "shutdown_timeout", "alarm_after", "on_delivery")
_ABOUT_ROOM = (
    "outbox",
    "outbox_fsync",
    "outbox_max_entries",
    "outbox_max_bytes",
    "outbox_max_age",
    "overflow",
)
_SETTINGS = _ABOUT_THE_ENDPOINT + _ABOUT_THE_BROKER + _ABOUT_TIME + _ABOUT_ROOM


class _Process:
    """What this process has; a forked child begins with a new one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.shared: WeakValueDictionary[Hashable, Sender] = WeakValueDictionary()
        self.senders: WeakSet[Sender] = WeakSet()
        self.sees_its_end = False


_process = _Process()
# Kept, not collected: destroying them would run the parent's half-done work (locks, sockets) in the child.
_of_parents: list[Sender] = []


def prepare(config: KoalaConfig) -> None:
    """Loads what delivers while the app starts, so that no request has to share the time it takes; nor does who
    only imports the package: half of its import was this."""
    from koala_middleware.delivery.sending import sender  # noqa: F401, PLC0415  (see above)
    from koala_middleware.delivery.transports import choosing  # noqa: PLC0415  (see above)

    if config.delivery != "relay":
        choosing.prepare(config)


def sender_for(config: KoalaConfig) -> Sender:
    """The sender that all clients of an equal configuration share in this process."""
    from koala_middleware.delivery.sending.sender import Sender  # noqa: PLC0415  (loaded already: see prepare)

    process = _current()
    key = _key(config)
    with process.lock:
        sender = process.shared.get(key)
        if sender is None:
            sender = process.shared[key] = Sender(config)
            process.senders.add(sender)
            _see_the_end(process)
        return sender


def _key(config: KoalaConfig) -> Hashable:
    values = (getattr(config, name) for name in _SETTINGS)
    return tuple(value if isinstance(value, Hashable) else id(value) for value in values)


def _current() -> _Process:
    if _process.pid != os.getpid():  # a fork that no hook saw
        _begin_child()
    return _process


def _begin_child() -> None:
    """In a forked child: what waits is the parent's to deliver; locks, threads, connections are not ours."""
    global _process
    parents, _process = _process, _Process()
    for sender in list(parents.senders):
        sender.abandon()
        _of_parents.append(sender)


def _see_the_end(process: _Process) -> None:
    """Asks to be called when the process ends, however its kind of process does."""
    if process.sees_its_end:
        return
    process.sees_its_end = True
    # Registered with the first entry, so run before the handlers of everything that was imported earlier.
    atexit.unregister(close_all)
    atexit.register(close_all)
    # Forked workers of multiprocessing (granian) and billiard (Celery) end without atexit.
    for library in ("multiprocessing", "billiard"):
        parent = getattr(sys.modules.get(f"{library}.process"), "parent_process", None)
        finalize = getattr(sys.modules.get(f"{library}.util"), "Finalize", None)
        if finalize is not None and (parent is None or parent() is not None):
            finalize(None, close_all, exitpriority=100)


def close_all(longest: float = math.inf) -> None:
    """The process ends: one deadline for all senders, the longest of theirs, and `longest` seconds at most."""
    senders = list(_current().senders)
    patience = max((sender.shutdown_timeout for sender in senders), default=0.0)
    deadline = time.monotonic() + min(patience, longest)
    for sender in senders:
        sender.close(min(sender.shutdown_timeout, max(deadline - time.monotonic(), 0.0)), last=True)


os.register_at_fork(after_in_child=_begin_child)
