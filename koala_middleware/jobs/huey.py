"""Huey: `carry(huey, client)` where the Huey is made, for the web processes and the consumer.

Huey's messages have no room for headers: the ticket travels as one more keyword argument, laid in when a
message is serialized and taken out before its task runs.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from huey import signals  # type: ignore[import-untyped]  # huey brings no types
from huey.api import Huey, Task  # type: ignore[import-untyped]  # as above
from huey.registry import Message  # type: ignore[import-untyped]  # as above

from koala_middleware.client import KoalaClient
from koala_middleware.jobs.propagation import KEY, Carrier, JobRun


def carry(huey: Huey, client: KoalaClient) -> None:
    """Let every task of this Huey know who caused it: `koala.track(…)` in a task is theirs.

    Consumers have to have this line before web processes do: one without it hands the ticket to the task.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """
    carrier = Carrier(client)
    hooks = _Hooks(carrier)
    huey.serializer = _Serializer(huey.serializer, carrier)
    huey.pre_execute(name=KEY)(hooks.begin)
    huey.post_execute(name=KEY)(hooks.end)
    huey.signal(signals.SIGNAL_CANCELED, signals.SIGNAL_INTERRUPTED)(hooks.abort)
    huey.on_shutdown(name=KEY)(hooks.close)


class _Serializer:
    """Huey's own serializer, and the ticket in what goes through it."""

    def __init__(self, serializer: Any, carrier: Carrier) -> None:
        self._serializer = serializer
        self._carrier = carrier

    def serialize(self, data: Any) -> bytes:
        if isinstance(data, Message) and (ticket := self._carrier.ticket()) is not None:
            data = _stamped(data, ticket)
        serialized: bytes = self._serializer.serialize(data)
        return serialized

    def deserialize(self, data: bytes) -> Any:
        return self._serializer.deserialize(data)


def _stamped(message: Any, ticket: str) -> Any:
    """The message with its ticket, and those that wait within it for its end."""
    return message._replace(
        kwargs={**(message.kwargs or {}), KEY: ticket},
        on_complete=message.on_complete and _stamped(message.on_complete, ticket),
        on_error=message.on_error and _stamped(message.on_error, ticket),
    )


class _Hooks:
    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._running: dict[str, tuple[JobRun, object]] = {}

    def begin(self, task: Task) -> None:
        ticket = task.kwargs.pop(KEY, None)
        run = self._carrier.run(ticket)
        self._running[task.id] = run, ticket
        run.begin()

    def end(self, task: Task, _value: object, exception: BaseException | None) -> None:
        self._end(task, again=exception is not None)

    def abort(self, _signal: str, task: Task) -> None:
        # Cancelled before it ran, or interrupted: there will be no post_execute.
        self._end(task, again=True)

    def _end(self, task: Task, *, again: bool) -> None:
        run, ticket = self._running.pop(task.id, (None, None))
        if again and ticket is not None:
            task.kwargs[KEY] = ticket  # for the next try
        if run is not None:
            run.end()

    def close(self) -> None:
        if multiprocessing.parent_process() is not None:
            self._carrier.client.close()  # a worker process ends by os._exit: no exit handler runs
