"""The site on Celery, with a prefork pool."""

import os
from typing import Any

import work
from celery import Celery

from koala_middleware import koala
from koala_middleware.jobs.celery import propagate_visitors

app = Celery("site", broker=os.environ["REDIS_URL"])

client = work.client
propagate_visitors(client)


@app.task(name="record")
def record() -> None:
    work.record()


@app.task(name="fail")
def fail() -> None:
    work.fail()


@app.task(name="look")
def look() -> None:
    work.look()


@app.task(name="hand_on")
def hand_on() -> None:
    work.hand_on(enqueue)


@app.task(name="headers", bind=True)
def headers(self: Any) -> None:
    koala.track("Headers Seen", {"tenant": (self.request.headers or {}).get("tenant")})


@app.task(name="retry", bind=True, max_retries=1)
def retry(self: Any) -> None:
    koala.track("Tried", {"retries": self.request.retries})
    if self.request.retries == 0:
        raise self.retry(countdown=0)


def enqueue(job: str) -> None:
    app.tasks[job].apply_async(headers={"tenant": "acme"})
