"""Real process trees under load: recycled, killed and ended, and every answered request's event arrives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery

pytestmark = pytest.mark.needs_server
Endpoint = Any  # conftest.py's; reaches tests as a fixture
Eventually = Callable[..., None]

APP = """
import os
from urllib.parse import parse_qs

from koala_middleware.asgi import KoalaMiddleware as Asgi
from koala_middleware.wsgi import KoalaMiddleware as Wsgi


def wsgi_app(environ, start_response):
    number = parse_qs(environ["QUERY_STRING"]).get("n", ["?"])[0]
    environ["koala"].track("Acted", message_id=number)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


async def asgi_app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    number = parse_qs(scope["query_string"].decode())["n"][0]
    scope["koala"].track("Acted", message_id=number)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


wsgi = Wsgi(wsgi_app)
asgi = Asgi(asgi_app)
if os.environ.get("USE_BEFORE_FORK"):  # an app that is loaded before the fork, and used
    with wsgi.client.person(profile_id="before") as koala:
        koala.track("Loaded", message_id=f"loaded-{os.getpid()}")
    wsgi.client.flush()
"""

# A worker that is just being born does not hear SIGTERM: the server waits so long for it, then kills it. Granian
# waits for ever unless it is told, with any app whose import takes time.
PATIENCE = ["--graceful-timeout", "5"]
GRANIANS_PATIENCE = ["--workers-kill-timeout", "5"]
GUNICORN = [
    *["gunicorn", "served:wsgi", "--workers", "2", "--bind", "127.0.0.1:{port}", "--log-level", "error"],
    *PATIENCE,
]
UVICORN = ["uvicorn", "served:asgi", "--port", "{port}", "--log-level", "error"]
GRANIAN = ["granian", "--workers", "2", "--port", "{port}", "--no-log", *GRANIANS_PATIENCE]
SERVERS = {
    "gunicorn sync": GUNICORN,
    "gunicorn gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "4"],
    "gunicorn gevent": [*GUNICORN, "--worker-class", "gevent"],
    "gunicorn gevent preload": [*GUNICORN, "--worker-class", "gevent", "--preload"],
    "gunicorn preload, recycled": [*GUNICORN, "--preload", "--max-requests", "20"],
    "uvicorn workers": [*UVICORN, "--workers", "2"],
    "granian asgi": [*GRANIAN, "--interface", "asgi", "served:asgi"],
    "granian wsgi": [*GRANIAN, "--interface", "wsgi", "served:wsgi"],
}


@dataclass
class Served:
    """A running server, and who asked it for what."""

    process: subprocess.Popen[str]
    url: str
    answered: set[str] = field(default_factory=set)
    workers: set[int] = field(default_factory=set)

    def load(self, enough: Callable[[], bool], clients: int = 4) -> None:
        """Numbered requests, one after the other from each client, until it is enough; failed ones do not
        count."""
        numbers = count(len(self.answered) * 1000)

        def ask() -> None:
            session = requests.Session()
            while not enough():
                number = str(next(numbers))
                with suppress(requests.RequestException):
                    visitor = f"00000000-0000-4000-8000-{int(number) % 10:012d}"
                    cookies = {"ko_id": visitor}
                    found = session.post(f"{self.url}/act?n={number}", cookies=cookies, timeout=10)
                    if found.ok:
                        self.answered.add(number)
                        self.workers.add(int(found.text))

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=30)
        return err


@pytest.fixture
def serve(tmp_path: Path, endpoint: Endpoint, eventually: Eventually) -> Iterator[Callable[..., Served]]:
    (tmp_path / "served.py").write_text(APP)
    started: list[subprocess.Popen[str]] = []

    def start(server: str, **settings: str) -> Served:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [word.format(port=port) for word in SERVERS[server]]
        given = {"KOALA_PUBLIC_API_KEY": "pk_test", "KOALA_ENDPOINT": endpoint.url, **settings}
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / command[0]), *command[1:]],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), **given},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        served = Served(process, f"http://127.0.0.1:{port}")
        eventually(lambda: is_up(served.url))
        return served

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def is_up(url: str) -> bool:
    try:
        return requests.post(f"{url}/act?n=up", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.mark.parametrize("server", SERVERS)
def test_from_memory_everything_answered_arrives_when_a_server_ends_in_order(
    serve: Callable[..., Served], endpoint: Endpoint, server: str
) -> None:
    served = serve(server)
    served.load(lambda: len(served.answered) >= 200)
    err = served.end()
    assert served.answered <= set(endpoint.taken), err


@pytest.mark.parametrize("server", SERVERS)
def test_from_a_durable_outbox_everything_answered_arrives_though_workers_are_killed(
    serve: Callable[..., Served], endpoint: Endpoint, server: str, tmp_path: Path
) -> None:
    outbox = str(tmp_path / "outbox")
    served = serve(server, KOALA_OUTBOX=outbox)
    served.load(lambda: len(served.answered) >= 100)
    killer = threading.Timer(0.2, kill_all, (served.workers,))
    killer.start()
    served.load(lambda: len(served.answered) >= 300 or served.process.poll() is not None)
    killer.join()
    served.end()
    left = Delivery(KoalaConfig(public_api_key="pk_test", endpoint=endpoint.url, outbox=outbox))
    left.adopt()  # as the next start would, with its first entry
    assert left.close(20).complete
    assert served.answered <= set(endpoint.taken)


def test_an_app_that_spoke_before_the_fork_speaks_in_every_worker(
    serve: Callable[..., Served], endpoint: Endpoint
) -> None:
    served = serve("gunicorn preload, recycled", USE_BEFORE_FORK="1")
    served.load(lambda: len(served.answered) >= 100)
    served.end()
    loaded = [id_ for id_ in endpoint.taken if id_.startswith("loaded-")]
    assert len(loaded) == len(set(loaded)) == 1
    assert served.answered <= set(endpoint.taken)
    assert len(served.workers) > 2, "no worker was recycled"


def kill_all(workers: set[int]) -> None:
    for worker in tuple(workers):
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
