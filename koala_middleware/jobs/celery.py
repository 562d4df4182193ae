"""Celery: call `propagate_visitors(client)` beside the Celery app, in web processes and workers.

The ticket is a header of the message. Celery's signals write it before publishing and read it before running.
"""

from __future__ import annotations

from typing import Any

from celery import signals

from koala_middleware.client import KoalaClient
from koala_middleware.jobs.propagation import KEY, JobRun, VisitorPropagator

_UID = "koala_middleware"


def propagate_visitors(client: KoalaClient) -> None:
    """Make `koala.track(…)` in a task belong to the visitor who caused it.

    A task that runs inside its caller (`task_always_eager`, `.apply()`) uses the caller's context. A task that no
    visitor caused, such as a periodic one, has none. A second call replaces the client.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """
    hooks = _Hooks(VisitorPropagator(client))
    for signal, receive in (
        (signals.before_task_publish, hooks.publish),
        (signals.task_prerun, hooks.begin),
        (signals.task_postrun, hooks.end),
        (signals.worker_process_shutdown, hooks.close),
    ):
        signal.disconnect(dispatch_uid=_UID)
        signal.connect(receive, weak=False, dispatch_uid=_UID)


class _Hooks:
    def __init__(self, propagator: VisitorPropagator) -> None:
        self._propagator = propagator
        self._running: dict[str, JobRun] = {}

    def publish(self, headers: dict[str, Any] | None = None, **_signal: Any) -> None:
        # Not under `headers["headers"]`: Celery 5 would then hide the site's own headers from the task.
        if headers is not None and (ticket := self._propagator.ticket()) is not None:
            headers[KEY] = ticket

    def begin(self, task_id: str, task: Any, **_signal: Any) -> None:
        run = self._running[task_id] = self._propagator.run(task.request.get(KEY))
        run.begin()

    def end(self, task_id: str, **_signal: Any) -> None:
        if (run := self._running.pop(task_id, None)) is not None:
            run.end()

    def close(self, **_signal: Any) -> None:
        # Pool processes end by os._exit, which runs no exit handler.
        self._propagator.client.close()
