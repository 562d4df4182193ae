"""Django's tasks (`django.tasks`, and `django_tasks` before Django 6): a mixin for the backend.

Django's tasks have no room for headers: the ticket travels as one more keyword argument, laid in when a task
is enqueued and taken out when it is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async

from koala_middleware.client import KoalaClient
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.django.middleware import koala_settings
from koala_middleware.jobs.propagation import KEY, Carrier


class KoalaTasks:
    """Put it before your backend, and name that class in `TASKS`; its settings are Django's `KOALA_…`.

    ```python
    class Backend(KoalaTasks, DatabaseBackend): ...
    ```
    `koala.track(…)` in a task then belongs to who caused it. Workers have to know this backend before web
    processes do: one without it hands the ticket to the task.

    Raises:
        KoalaConfigError: `KOALA_SIGNING_KEY` or another setting is missing, when the first task is defined.
        ImportError: the extra `jobs` is not installed.
    """

    task_class: type[Any]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.task_class = _carried(cls.task_class)

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        carrier()

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return super().enqueue(task, args, _stamped(kwargs))  # type: ignore[misc]  # the backend's, next in line

    async def aenqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return await super().aenqueue(task, args, _stamped(kwargs))  # type: ignore[misc]  # as above


@cache
def carrier() -> Carrier:
    """The carrier by Django's settings, one for the process."""
    return Carrier(KoalaClient(KoalaConfig.load({}, koala_settings())))


def _stamped(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    ticket = carrier().ticket()
    return dict(kwargs) if ticket is None else {**kwargs, KEY: ticket}


def _carried(task_class: type[Any]) -> type[Any]:
    class KoalaTask(task_class):  # type: ignore[misc]  # whichever Task the backend has
        __slots__ = ()

        def call(self, *args: Any, **kwargs: Any) -> Any:
            with carrier().run(kwargs.pop(KEY, None)):
                return super().call(*args, **kwargs)

        async def acall(self, *args: Any, **kwargs: Any) -> Any:
            run = carrier().run(kwargs.pop(KEY, None))
            run.begin()
            try:
                return await super().acall(*args, **kwargs)
            finally:
                run.leave()
                await sync_to_async(run.deliver, thread_sensitive=False)()

    return KoalaTask
