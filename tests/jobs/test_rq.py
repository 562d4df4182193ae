"""What is particular to RQ: its jobs have a timeout, and waiting for the network is inside of it."""

from __future__ import annotations

import socket
import time

from redis import Redis
from rq.job import Job

from koala_middleware import KoalaClient, koala
from koala_middleware.jobs.rq import job_class


def record() -> None:
    koala.track("Invoice Sent")


def test_no_job_fails_for_our_waiting() -> None:
    """The wait ends a second before the job's own timeout, whatever `shutdown_timeout` allows."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = KoalaClient(
            public_api_key="pk_rq",
            endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}",
            signing_key="a signing key for these tests",
            shutdown_timeout=30,
        )
        with client.person(email="ada@example.com"):
            job = job_class(client).create(record, connection=Redis(), timeout=2)
        began = time.monotonic()

        job.perform()

        assert time.monotonic() - began < 15
        assert client.stats().waiting == 1
        client.close(0)


def test_a_job_of_the_plain_class_runs_with_the_ticket_in_its_meta() -> None:
    """A worker that was not told of the class yet."""
    client = KoalaClient(public_api_key="pk_rq", signing_key="a signing key for these tests", delivery="off")
    with client.person(email="ada@example.com"):
        created = job_class(client).create(print, connection=Redis())

    plain = Job.create(print, connection=Redis(), meta=created.meta)

    assert plain.perform() is None
    assert "ada@example.com" not in repr(created)
