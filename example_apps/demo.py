"""`make demo`: runs the collector and the same small site on Flask, Django and FastAPI until Ctrl-C.

Starts each as its framework's manual says, waits until it answers, and leaves no process behind.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

HERE = Path(__file__).parent
COLLECTOR = str(Path(sys.executable).with_name("koala-middleware"))
ADDRESS = "127.0.0.1"
FIRST_PORT = 8600  # the collector's; the sites follow
SLOWEST_START = 60.0  # seconds
SLOWEST_END = 10.0
LAST_LINES = 20  # of a log, shown when its process dies

GUIDE = """
  The collector    {collector}
  Flask            {flask}
  Django           {django}
  FastAPI          {fastapi}

Most browsers resolve names below .localhost by themselves. If yours does not, use {address} instead.

  1. Open the collector, and beside it the Flask site. Click around there: every page view arrives.
  2. Sign up with any email. One identify arrives, and your visits so far get its name.
  3. Open the Django site. You are the same visitor, because both sites are below gumleaf.localhost.
  4. Sign up on it with the same email in a private window: another visitor, the same person.
  5. Log out. The footer shows a new visitor.

Press Ctrl-C to stop.
"""


class DemoError(Exception):
    """A process did not start or has died. The message names it and has the end of its log."""


@dataclass
class Part:
    """One process of the demo, its output in a log file.

    Attributes:
        port: Where it listens, on 127.0.0.1.
    """

    name: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}"

    @classmethod
    def start(
        cls, name: str, port: int, directory: Path, command: Sequence[str], environment: Mapping[str, str]
    ) -> Part:
        log = directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  (our own commands)
                command,
                cwd=HERE,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A process group of its own: Ctrl-C reaches only this process, which stops the others in order.
                start_new_session=True,
            )
        return cls(name, port, log, process)

    def wait_until_it_answers(self, stop: threading.Event) -> None:
        deadline = time.monotonic() + SLOWEST_START
        while not stop.is_set() and not self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{self.name} does not answer at {self.url}.\n{self._last_lines()}")
            stop.wait(0.1)

    def check(self) -> None:
        if (status := self.process.poll()) is not None:
            raise DemoError(f"{self.name} exited with status {status}.\n{self._last_lines()}")

    def end(self) -> None:
        # As Ctrl-C does: each stops cleanly, and what waits is still delivered.
        self._signal(signal.SIGINT)
        try:
            self.process.wait(SLOWEST_END)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=5).ok
        except requests.RequestException:
            return False

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])


def free_port(wanted: int) -> int:
    """The wanted port, or any free port where that one is in use."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError("No port is free.")


def make_tables(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(  # noqa: S603  (our own command)
        command, cwd=HERE, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DemoError(f"Django could not create its tables.\n{done.stderr}")


def start(parts: list[Part], directory: Path, stop: threading.Event) -> None:
    """Start everything and wait until all answer. `parts` has what was started, even if this raises."""
    ports = [free_port(FIRST_PORT + place) for place in range(4)]
    listen = [["--host", ADDRESS, "--port", str(port)] for port in ports]
    sites = {
        "KOALA_ENDPOINT": f"http://{ADDRESS}:{ports[0]}",
        "GUMLEAF_DATABASE": str(directory / "gumleaf.sqlite3"),
    }
    python = sys.executable
    manage = [python, "django_app/manage.py"]
    make_tables([*manage, "migrate", "--verbosity=0"], sites)

    def add(name: str, place: int, *command: str) -> None:
        parts.append(Part.start(name, ports[place], directory, command, sites))

    add("collector", 0, COLLECTOR, "collector", *listen[0], "--database", str(directory / "koala.db"))
    add("flask", 1, python, "-m", "flask", "--app", "flask_app/app.py", "run", *listen[1])
    add("django", 2, *manage, "runserver", "--noreload", f"{ADDRESS}:{ports[2]}")
    add("fastapi", 3, python, "-m", "uvicorn", "--app-dir", "fastapi_app", "main:app", *listen[3])
    for part in parts:
        part.wait_until_it_answers(stop)


def guide(parts: Sequence[Part]) -> str:
    collector, flask, django, fastapi = parts
    return GUIDE.format(
        address=ADDRESS,
        collector=collector.url,
        flask=f"http://www.gumleaf.localhost:{flask.port}",
        django=f"http://app.gumleaf.localhost:{django.port}",
        fastapi=f"http://my.gumleaf.localhost:{fastapi.port}",
    )


def main() -> int:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    parts: list[Part] = []
    with tempfile.TemporaryDirectory(prefix="koala-demo-") as directory:
        try:
            start(parts, Path(directory), stop)
            if not stop.is_set():
                print(guide(parts), flush=True)  # noqa: T201  (the command's output)
            while not stop.wait(0.5):
                for part in parts:
                    part.check()
        except DemoError as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 1
        finally:
            for part in reversed(parts):  # the collector last, to receive what the sites still have
                part.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
