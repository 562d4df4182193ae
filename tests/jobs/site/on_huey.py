"""The site on Huey, with Redis: worker processes, which end by os._exit."""

import os

import work
from huey import RedisHuey

from koala_middleware import koala
from koala_middleware.jobs.huey import propagate_visitors

client = work.client
huey = RedisHuey("huey-site", url=os.environ["REDIS_URL"])
propagate_visitors(huey, client)


@huey.task()
def record() -> None:
    work.record()


@huey.task()
def fail() -> None:
    work.fail()


@huey.task()
def look() -> None:
    work.look()


@huey.task()
def hand_on() -> None:
    work.hand_on(enqueue)


@huey.task(retries=1, context=True)
def retry(task: object = None) -> None:
    koala.track("Tried", {"retries": 1 - task.retries})
    if task.retries:
        raise RuntimeError("once more")


@huey.task()
def follow(*_result: object) -> None:
    koala.track("Followed")


def enqueue(job: str) -> None:
    if job == "pipeline":
        huey.enqueue(record.s().then(follow))
    else:
        globals()[job]()
