"""What empties a broker, as a site runs it: Celery's worker or our relay, in processes that can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from support.waiting import DEADLINE

SITE = Path(__file__).parents[1] / "delivery" / "brokers" / "site"


def celery_settings(url: str, queue: str, **options: Any) -> dict[str, Any]:
    """The web processes' settings."""
    app = Celery("shop", broker=url, set_as_current=False)
    app.conf.broker_transport_options = options
    return {"transport": "celery", "celery_app": app, "queue": queue, "shards": 2}


def celery_worker(url: str, queue: str, *more: str, **options: Any) -> tuple[list[str], dict[str, str]]:
    """Its command line and environment; the app is tests/delivery/brokers/site/shop.py's."""
    command = ["-m", "celery", "-A", "shop", "worker", "-Q", f"{queue}.0,{queue}.1", "--loglevel=INFO"]
    environment = {
        "BROKER": url,
        "BROKER_OPTIONS": json.dumps(options),
        "KOALA_TRANSPORT": "celery",
        "KOALA_CELERY_APP": "shop:app",
        "KOALA_QUEUE": queue,
        "KOALA_SHARDS": "2",
    }
    return [*command, "--without-gossip", "--without-mingle", *more], environment


def relay(source: str, broker: str, queue: str, *more: str) -> tuple[list[str], dict[str, str]]:
    """The same of `koala-middleware relay --from …`."""
    command = ["-m", "koala_middleware.cli", "relay", "--from", source, "--broker", broker, *more]
    return command, {"KOALA_QUEUE": queue, "KOALA_SHARDS": "2"}


class Worker:
    """What empties the broker: a process of the site's, with its own processes below it."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self._arguments = arguments
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments],
                cwd=SITE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def revive(self) -> None:
        """As a supervisor does it, where it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            self.start()

    def kill(self) -> None:
        """All of it at once, as when a machine is gone."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill_child(self) -> None:
        """The process below, in the middle of what it does; the one above goes on."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)

    def end(self) -> int:
        """As systemd does it."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(DEADLINE)
        self._process = None
        return status
