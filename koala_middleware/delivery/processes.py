"""Processes: each has one dispatcher per configuration, none inherited by a fork, all closed at its end.

Must not know how a dispatcher delivers. Nothing is started or registered before the first entry.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING
from weakref import WeakSet, WeakValueDictionary

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.clock import monotonic
from koala_middleware.log_once import logger

if TYPE_CHECKING:
    from koala_middleware.delivery.sending.dispatcher import Dispatcher

# Every setting that delivery reads: clients that are equal in these can share a dispatcher.
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
    """The state of this process. A forked child starts with a new one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.shared: WeakValueDictionary[Hashable, Dispatcher] = WeakValueDictionary()
        self.dispatchers: WeakSet[Dispatcher] = WeakSet()
        self.sees_its_end = False


_process = _Process()
# Never collected: their destruction in the child would touch the parent's locks and sockets.
_of_parents: list[Dispatcher] = []


def prepare(config: KoalaConfig) -> None:
    """Import what delivers while the app starts, so that no request waits for it."""
    from koala_middleware.delivery.outbox import choosing as outboxes  # noqa: F401, PLC0415  (see above)
    from koala_middleware.delivery.sending import dispatcher  # noqa: F401, PLC0415
    from koala_middleware.delivery.transports import choosing  # noqa: PLC0415  (see above)

    if config.delivery != "relay":
        choosing.prepare(config)


def dispatcher_for(config: KoalaConfig) -> Dispatcher:
    """The dispatcher that all clients of an equal configuration share in this process."""
    from koala_middleware.delivery.outbox.choosing import outbox_for  # noqa: PLC0415  (loaded already: see prepare)
    from koala_middleware.delivery.sending.dispatcher import Dispatcher  # noqa: PLC0415

    process = _current()
    key = _key(config)
    with process.lock:
        dispatcher = process.shared.get(key)
        if dispatcher is None:
            dispatcher = Dispatcher(config, outbox_for, driven=_threads_stand_still())
            process.shared[key] = dispatcher
            process.dispatchers.add(dispatcher)
            _see_the_end(process)
        return dispatcher


def _key(config: KoalaConfig) -> Hashable:
    values = (getattr(config, name) for name in _SETTINGS)
    return tuple(value if isinstance(value, Hashable) else id(value) for value in values)


def _current() -> _Process:
    if _process.pid != os.getpid():  # a fork that no hook saw
        _begin_child()
    return _process


def _begin_child() -> None:
    """In a forked child, leave waiting entries, locks, threads and connections to the parent."""
    global _process
    parents, _process = _process, _Process()
    for dispatcher in list(parents.dispatchers):
        dispatcher.abandon()
        _of_parents.append(dispatcher)


def _see_the_end(process: _Process) -> None:
    """Register for the end of the process, whatever kind of process it is."""
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
    # A Celery child that is recycled (--max-tasks-per-child) leaves by os._exit, after this signal.
    signals = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_process_shutdown.connect(_close_with_the_worker, weak=False)


def close_all(longest: float = math.inf) -> None:
    """Close all dispatchers at the end of the process, within the longest of their timeouts and `longest` seconds."""
    dispatchers = list(_current().dispatchers)
    patience = max((dispatcher.shutdown_timeout for dispatcher in dispatchers), default=0.0)
    deadline = monotonic() + min(patience, longest)
    for dispatcher in dispatchers:
        dispatcher.close(min(dispatcher.shutdown_timeout, max(deadline - monotonic(), 0.0)), last=True)


def _close_with_the_worker(**_: object) -> None:
    close_all()


def _threads_stand_still() -> bool:
    """Before 2.0.27, uWSGI without enable-threads starts threads that never run."""
    if getattr(sys.modules.get("uwsgi"), "has_threads", True):
        return False
    logger.warning(
        "Koala: uWSGI runs without enable-threads; batches are sent at the end of each request instead."
    )
    return True


os.register_at_fork(after_in_child=_begin_child)
