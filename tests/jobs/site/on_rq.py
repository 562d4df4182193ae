"""The site on RQ: each job in a work horse of its own, which ends by os._exit."""

import os

import work
from redis import Redis
from rq import Queue, Retry, get_current_job

from koala_middleware import koala
from koala_middleware.jobs.rq import job_class

client = work.client
KoalaJob = job_class(client)
queue = Queue("rq-site", connection=Redis.from_url(os.environ["REDIS_URL"]), job_class=KoalaJob)


def retry() -> None:
    job = get_current_job()
    assert job is not None
    left = job.retries_left or 0
    koala.track("Tried", {"retries": 1 - left})
    if left:
        raise RuntimeError("once more")


def hand_on() -> None:
    work.hand_on(enqueue)


JOBS = {"record": work.record, "fail": work.fail, "look": work.look, "hand_on": hand_on, "retry": retry}


def enqueue(job: str) -> None:
    queue.enqueue(
        f"on_rq.{job}" if job in {"hand_on", "retry"} else f"work.{job}",
        retry=Retry(max=1) if job == "retry" else None,
    )
