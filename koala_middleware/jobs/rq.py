"""RQ: `KoalaJob = job_class(client)`, for `Queue(job_class=KoalaJob)` and `rq worker --job-class …`.

The ticket is in the job's meta: laid in when the job is created, read when it is performed.
"""

from __future__ import annotations

import os
import time
from typing import Any

from rq.job import Job

from koala_middleware.client import KoalaClient
from koala_middleware.jobs.propagation import KEY, Carrier

_MARGIN = 1.0  # seconds before a job's timeout that our waiting ends: no job may fail for it


def job_class(client: KoalaClient) -> type[Job]:
    """A Job that knows who caused it: `koala.track(…)` in it is theirs.

    Keep it where both sides import it, say `KoalaJob` in `jobs.py`: `Queue(job_class=KoalaJob)`,
    `rq worker --job-class jobs.KoalaJob`. A worker without it runs the jobs as before.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """
    carrier = Carrier(client)

    class KoalaJob(Job):
        @classmethod
        def create(cls, *args: Any, **kwargs: Any) -> Job:
            job = super().create(*args, **kwargs)
            if (ticket := carrier.ticket()) is not None:
                job.meta[KEY] = ticket
            return job

        def perform(self) -> Any:
            started = time.monotonic()
            run = carrier.run(self.meta.get(KEY))
            run.begin()
            try:
                return super().perform()
            finally:
                run.leave()
                # RQ's work horse, a process for one job, ends by os._exit: no exit handler runs.
                run.deliver(_left(self, started), last=os.environ.get("RQ_JOB_ID") == self.id)

    return KoalaJob


def _left(job: Job, started: float) -> float | None:
    """Seconds that may still be waited within the job's own timeout; None where it has none."""
    timeout = job.timeout
    if timeout is None or timeout <= 0:
        return None
    return timeout - _MARGIN - (time.monotonic() - started)
