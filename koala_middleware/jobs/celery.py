"""Celery: `carry(client)` beside the Celery app, in the web processes and in the workers.

The ticket is a header of the message: set by the signal before publishing, read by the one before running.
"""

from __future__ import annotations

from typing import Any

from celery import signals

from koala_middleware.client import KoalaClient
from koala_middleware.jobs.propagation import KEY, Carrier, JobRun

_UID = "koala_middleware"


def carry(client: KoalaClient) -> None:
    """Let every task of this process know who caused it: `koala.track(…)` in a task is theirs.

    A task called at once (`task_always_eager`, `.apply()`) stays in its caller's context; one that nobody
    caused, such as a periodic one, has none. Called again, the last client counts.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """
    hooks = _Hooks(Carrier(client))
    for signal, receive in (
        (signals.before_task_publish, hooks.publish),
        (signals.task_prerun, hooks.begin),
        (signals.task_postrun, hooks.end),
        (signals.worker_process_shutdown, hooks.close),
    ):
        signal.disconnect(dispatch_uid=_UID)
        signal.connect(receive, weak=False, dispatch_uid=_UID)


class _Hooks:
    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._running: dict[str, JobRun] = {}

    def publish(self, headers: dict[str, Any] | None = None, **_signal: Any) -> None:
        # At the top level, not under `headers["headers"]`: once that is there, Celery 5 no longer shows a
        # task the site's own headers.
        if headers is not None and (ticket := self._carrier.ticket()) is not None:
            headers[KEY] = ticket

    def begin(self, task_id: str, task: Any, **_signal: Any) -> None:
        run = self._running[task_id] = self._carrier.run(task.request.get(KEY))
        run.begin()

    def end(self, task_id: str, **_signal: Any) -> None:
        if (run := self._running.pop(task_id, None)) is not None:
            run.end()

    def close(self, **_signal: Any) -> None:
        # A pool's process ends by os._exit: no exit handler runs.
        self._carrier.client.close()
