"""Django's tasks (`django.tasks`, and `django_tasks` before Django 6): a mixin for the backend.

Django's tasks have no headers. The ticket is one more keyword argument, added when a task is enqueued and removed when
it is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async

from koala_middleware.client import KoalaClient
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.django.middleware import koala_settings
from koala_middleware.jobs.propagation import KEY, VisitorPropagator


class KoalaTasks:
    """A mixin that makes `koala.track(…)` in a task belong to the visitor who caused it.

    Put it before your backend, and name that class in `TASKS`. Its settings are Django's `KOALA_…`.

    ```python
    class Backend(KoalaTasks, DatabaseBackend): ...
    ```
    Deploy workers first: a worker without this backend passes the ticket to the task as an argument.

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
        propagator()

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return super().enqueue(task, args, _stamped(kwargs))  # type: ignore[misc]  # the backend's

    async def aenqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return await super().aenqueue(task, args, _stamped(kwargs))  # type: ignore[misc]  # as above


@cache
def propagator() -> VisitorPropagator:
    """The process's propagator, with Django's settings."""
    return VisitorPropagator(KoalaClient(KoalaConfig.load({}, koala_settings())))


def _stamped(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    ticket = propagator().ticket()
    return dict(kwargs) if ticket is None else {**kwargs, KEY: ticket}


def _carried(task_class: type[Any]) -> type[Any]:
    class KoalaTask(task_class):  # type: ignore[misc]  # whichever Task the backend has
        __slots__ = ()

        def call(self, *args: Any, **kwargs: Any) -> Any:
            with propagator().run(kwargs.pop(KEY, None)):
                return super().call(*args, **kwargs)

        async def acall(self, *args: Any, **kwargs: Any) -> Any:
            run = propagator().run(kwargs.pop(KEY, None))
            run.begin()
            try:
                return await super().acall(*args, **kwargs)
            finally:
                run.hand_over()
                await sync_to_async(run.deliver, thread_sensitive=False)()

    return KoalaTask
