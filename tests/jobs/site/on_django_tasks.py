"""The tasks of the site on Django."""

import work
from django_tasks import task

from koala_middleware import koala


@task
def record() -> None:
    work.record()


@task
def fail() -> None:
    work.fail()


@task
def look() -> None:
    work.look()


@task
def hand_on() -> None:
    work.hand_on(lambda job: TASKS[job].enqueue())


@task
async def awaited() -> None:
    koala.track("Awaited")


TASKS = {"record": record, "fail": fail, "look": look, "hand_on": hand_on, "awaited": awaited}
