"""A real Redis, a real collector, and the same small site on each queue: a web process and a worker."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from support.brokers import RedisServer
from support.brokers import running as serving
from support.waiting import until

SITE = Path(__file__).parent / "site"
DEADLINE = 30.0  # seconds for anything here to happen; nothing takes a tenth of it


@dataclass(frozen=True)
class Collector:
    url: str

    def entries(self) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/api/entries", params={"limit": 1000}, timeout=DEADLINE).json()
        return list(answer["entries"])

    def wait_for(self, event: str, number: int = 1, **members: object) -> list[dict[str, Any]]:
        """The first `number` events of this name whose members are such; fails where they do not come."""

        def found() -> list[dict[str, Any]]:
            return [
                entry
                for entry in self.entries()
                if entry["event"] == event and all(entry[name] == value for name, value in members.items())
            ]

        until(lambda: len(found()) >= number, f"{event} {members}")
        return found()


@dataclass(frozen=True)
class Site:
    """The site on one queue. Each visitor of it is new."""

    queue: str
    url: str
    worker_log: Path

    def enqueue(self, job: str, **headers: str) -> str:
        """A visitor clicks, and the job is enqueued; their profile id."""
        profile_id = str(uuid.uuid4())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        requests.get(
            f"{self.url}/enqueue/{job}", headers=named, cookies={"ko_id": profile_id}, timeout=DEADLINE
        ).raise_for_status()
        return profile_id

    def enqueue_beside(self, job: str) -> None:
        """The job is enqueued where nobody is known."""
        requests.get(f"{self.url}/beside/{job}", timeout=DEADLINE).raise_for_status()


@contextmanager
def running(arguments: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the site's directory, its output in `log`; ended by SIGTERM."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, cwd=SITE, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def url_in(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The address the process says it serves at."""

    def look() -> str:
        assert process.poll() is None, log.read_text()
        return next((word for word in log.read_text().split() if word.startswith("http://")), "")

    return until(look, f"an address in {log}")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(RedisServer(tmp_path_factory.mktemp("redis"))) as redis:
        yield f"redis://127.0.0.1:{redis.port}/0"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    folder = tmp_path_factory.mktemp("collector")
    command = "import sys; from koala_middleware.cli.main import main; sys.exit(main())"
    arguments = [
        sys.executable,
        "-c",
        command,
        "collector",
        "--port",
        "0",
        "--database",
        str(folder / "koala.db"),
    ]
    with running(arguments, folder / "log") as process:
        yield Collector(url_in(folder / "log", process))


@pytest.fixture(scope="module", params=["on_celery", "on_rq", "on_dramatiq", "on_huey", "on_django"])
def site(
    request: pytest.FixtureRequest,
    redis_url: str,
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Everything that is true of one queue is true of all: each test here runs on every one."""
    queue = str(request.param)
    folder = tmp_path_factory.mktemp(queue)
    environment = {
        "QUEUE": queue,
        "REDIS_URL": redis_url,
        "DATABASE": str(folder / "tasks.db"),
        "KOALA_PUBLIC_API_KEY": "pk_jobs",
        "KOALA_ENDPOINT": collector.url,
        "KOALA_SIGNING_KEY": "a signing key for these tests",
        "KOALA_FLUSH_INTERVAL": "0.02",
        "PYTHONWARNINGS": "default",
    }
    with ExitStack() as stack:
        if queue == "on_django":
            with running(
                [sys.executable, "manage.py", "migrate"], folder / "migrate", **environment
            ) as migrate:
                assert migrate.wait(DEADLINE) == 0, (folder / "migrate").read_text()
        worker = [sys.executable, *WORKERS[queue](redis_url)]
        # Nothing leaves a worker by the clock: only what is flushed when a job ends.
        patient = {**environment, "KOALA_FLUSH_INTERVAL": "600"}
        stack.enter_context(running(worker, folder / "worker", **patient))
        web = [sys.executable, "web.py", queue]
        process = stack.enter_context(running(web, folder / "web", **environment))
        yield Site(queue, url_in(folder / "web", process), folder / "worker")


WORKERS: dict[str, Callable[[str], list[str]]] = {
    "on_celery": lambda _: [
        "-m",
        "celery",
        "-A",
        "on_celery",
        "worker",
        "--concurrency=1",
        "--loglevel=INFO",
    ],
    "on_rq": lambda url: ["-m", "rq.cli", "worker", "--url", url, "--job-class", "on_rq.KoalaJob", "rq-site"],
    "on_dramatiq": lambda _: ["-m", "dramatiq", "on_dramatiq", "--processes", "1", "--threads", "1"],
    "on_huey": lambda _: [
        *("-m", "huey.bin.huey_consumer", "on_huey.huey", "--worker-type=process", "--workers=1"),
        *("--delay=0.02", "--max-delay=0.1"),
    ],
    "on_django": lambda _: [
        "manage.py",
        "db_worker",
        "--interval",
        "0.05",
        "--no-startup-delay",
        "--no-reload",
    ],
}
