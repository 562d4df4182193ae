"""RQ: `KoalaJob = job_class(client)`, for `Queue(job_class=KoalaJob)` and `rq worker --job-class …`.

The ticket is in the job's meta, written when the job is created and read when it runs.
"""

from __future__ import annotations

import os
import time
from typing import Any

from rq.job import Job

from koala_middleware.client import KoalaClient
from koala_middleware.jobs.propagation import KEY, VisitorPropagator

_MARGIN = 1.0  # seconds before a job's own timeout that waiting for delivery ends


def job_class(client: KoalaClient) -> type[Job]:
    """A Job class that makes `koala.track(…)` in a job belong to the visitor who caused it.

    Define it where both sides can import it, such as `KoalaJob` in `jobs.py`: `Queue(job_class=KoalaJob)`,
    `rq worker --job-class jobs.KoalaJob`. A worker without it runs the jobs without their visitors.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """
    propagator = VisitorPropagator(client)

    class KoalaJob(Job):
        @classmethod
        def create(cls, *args: Any, **kwargs: Any) -> Job:
            job = super().create(*args, **kwargs)
            if (ticket := propagator.ticket()) is not None:
                job.meta[KEY] = ticket
            return job

        def perform(self) -> Any:
            started = time.monotonic()
            run = propagator.run(self.meta.get(KEY))
            run.begin()
            try:
                return super().perform()
            finally:
                run.hand_over()
                # RQ's work horse, a process for one job, ends by os._exit, which runs no exit handler.
                run.deliver(_left(self, started), last=os.environ.get("RQ_JOB_ID") == self.id)

    return KoalaJob


def _left(job: Job, started: float) -> float | None:
    """Seconds left in the job's own timeout, less the margin; None without a timeout."""
    timeout = job.timeout
    if timeout is None or timeout <= 0:
        return None
    return timeout - _MARGIN - (time.monotonic() - started)
