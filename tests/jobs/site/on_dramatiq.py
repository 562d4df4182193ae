"""The site on Dramatiq, with Redis."""

import os

import dramatiq
import work
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

from koala_middleware import koala
from koala_middleware.jobs.dramatiq import propagate_visitors

client = work.client
broker = RedisBroker(url=os.environ["REDIS_URL"], namespace="dramatiq-site")
broker.add_middleware(CurrentMessage())
propagate_visitors(broker, client)
dramatiq.set_broker(broker)


@dramatiq.actor(max_retries=0)
def record() -> None:
    work.record()


@dramatiq.actor(max_retries=0)
def fail() -> None:
    work.fail()


@dramatiq.actor(max_retries=0)
def look() -> None:
    work.look()


@dramatiq.actor(max_retries=0)
def hand_on() -> None:
    work.hand_on(enqueue)


@dramatiq.actor(max_retries=1, min_backoff=1, max_backoff=1)
def retry() -> None:
    message = CurrentMessage.get_current_message()
    assert message is not None
    retries = message.options.get("retries", 0)
    koala.track("Tried", {"retries": retries})
    if retries == 0:
        raise RuntimeError("once more")


@dramatiq.actor(max_retries=0)
def follow(_result: object = None) -> None:
    koala.track("Followed")


def enqueue(job: str) -> None:
    if job == "pipeline":
        (record.message() | follow.message()).run()
    else:
        globals()[job].send()
