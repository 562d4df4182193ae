"""Huey: call `propagate_visitors(huey, client)` where the Huey is made, in web processes and the consumer.

Huey's messages have no headers. The ticket is one more keyword argument, added when a message is serialized and removed
before its task runs.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from huey import signals  # type: ignore[import-untyped]  # huey brings no types
from huey.api import Huey, Task  # type: ignore[import-untyped]  # as above
from huey.registry import Message  # type: ignore[import-untyped]  # as above

from koala_middleware.client import KoalaClient
from koala_middleware.jobs.propagation import KEY, JobRun, VisitorPropagator


def propagate_visitors(huey: Huey, client: KoalaClient) -> None:
    """Make `koala.track(…)` in a task belong to the visitor who caused it.

    Deploy consumers first: a consumer without this line passes the ticket to the task as an argument.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """
    propagator = VisitorPropagator(client)
    hooks = _Hooks(propagator)
    huey.serializer = _Serializer(huey.serializer, propagator)
    huey.pre_execute(name=KEY)(hooks.begin)
    huey.post_execute(name=KEY)(hooks.end)
    huey.signal(signals.SIGNAL_CANCELED, signals.SIGNAL_INTERRUPTED)(hooks.abort)
    huey.on_shutdown(name=KEY)(hooks.close)


class _Serializer:
    """Huey's own serializer, which also adds tickets."""

    def __init__(self, serializer: Any, propagator: VisitorPropagator) -> None:
        self._serializer = serializer
        self._propagator = propagator

    def serialize(self, data: Any) -> bytes:
        if isinstance(data, Message) and (ticket := self._propagator.ticket()) is not None:
            data = _stamped(data, ticket)
        serialized: bytes = self._serializer.serialize(data)
        return serialized

    def deserialize(self, data: bytes) -> Any:
        return self._serializer.deserialize(data)


def _stamped(message: Any, ticket: str) -> Any:
    """The message with a ticket, and so its callbacks."""
    return message._replace(
        kwargs={**(message.kwargs or {}), KEY: ticket},
        on_complete=message.on_complete and _stamped(message.on_complete, ticket),
        on_error=message.on_error and _stamped(message.on_error, ticket),
    )


class _Hooks:
    def __init__(self, propagator: VisitorPropagator) -> None:
        self._propagator = propagator
        self._running: dict[str, tuple[JobRun, object]] = {}

    def begin(self, task: Task) -> None:
        ticket = task.kwargs.pop(KEY, None)
        run = self._propagator.run(ticket)
        self._running[task.id] = run, ticket
        run.begin()

    def end(self, task: Task, _value: object, exception: BaseException | None) -> None:
        self._end(task, again=exception is not None)

    def abort(self, _signal: str, task: Task) -> None:
        # Canceled before it ran, or interrupted: post_execute is not called.
        self._end(task, again=True)

    def _end(self, task: Task, *, again: bool) -> None:
        run, ticket = self._running.pop(task.id, (None, None))
        if again and ticket is not None:
            task.kwargs[KEY] = ticket  # for the next attempt
        if run is not None:
            run.end()

    def close(self) -> None:
        if multiprocessing.parent_process() is not None:
            self._propagator.client.close()  # a worker process ends by os._exit, which runs no exit handler
