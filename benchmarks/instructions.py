"""What a request costs in instructions: figures that do not swing with the machine.

    python -m benchmarks.instructions [SUBJECT ...]

A FastAPI app answers 100 and then 600 requests under valgrind's callgrind, each pair in processes of its own; the
difference, divided by 500, is what one request costs. Deliveries are included: the processes flush before they end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request

from benchmarks.delivery import EVENT, PROPERTIES, SUBJECTS, Flush, Track
from benchmarks.endpoint import endpoint

FEW, MANY = 100, 600  # requests
_COLLECTED = re.compile(r"Collected : (\d+)")
# Chromium's, on a page load by a link.
_HEADERS = {
    "host": "www.example.com",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "sec-fetch-site": "same-origin",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "referer": "https://www.example.com/pricing",
    "accept-language": "en-GB,en;q=0.9",
}


class ValgrindMissingError(Exception):
    """Says how to install it."""

    def __init__(self) -> None:
        super().__init__("valgrind is missing: apt-get install valgrind")


@dataclass(frozen=True)
class Site:
    """An ASGI app, and what delivers the rest of what it recorded."""

    app: Any
    flush: Flush = lambda: None


def _fastapi(record: Callable[[Any], object] | None = None) -> Any:
    """One page; the handler records one event where `record` is given."""
    app = FastAPI()

    @app.get("/")
    async def page(request: Request) -> str:
        if record is not None:
            record(request)
        return "Hello"

    return app


class _Wrapper:
    """A middleware that does nothing."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


def _wrapped(_url: str) -> Site:
    app = _fastapi()
    app.add_middleware(_Wrapper)
    return Site(app)


def _sessions(_url: str) -> Site:
    from starlette.middleware.sessions import SessionMiddleware

    app = _fastapi()
    app.add_middleware(SessionMiddleware, secret_key="bench")
    return Site(app)


def _koala(url: str, record: Callable[[Any], object] | None = None) -> Site:
    from koala_middleware import KoalaClient
    from koala_middleware.asgi import KoalaMiddleware

    client = KoalaClient(public_api_key="pk_bench", endpoint=url)
    app = _fastapi(record)
    app.add_middleware(KoalaMiddleware, client=client)

    def flush() -> None:
        if not client.flush(120).complete:
            raise SystemExit("not everything was delivered")

    return Site(app, flush)


def _koala_tracking(url: str) -> Site:
    return _koala(url, lambda request: request.koala.track(EVENT, PROPERTIES))


def _peer(name: str) -> Callable[[str], Site]:
    def made(url: str) -> Site:
        track: Track
        track, flush = SUBJECTS[name].make(url)
        return Site(_fastapi(lambda request: track(request.cookies["ko_id"])), flush)

    return made


SITES: dict[str, Callable[[str], Site]] = {
    "bare": lambda _url: Site(_fastapi()),
    "a middleware that does nothing": _wrapped,
    "Starlette's SessionMiddleware": _sessions,
    "koala_middleware, nothing recorded": _koala,
    "koala_middleware, one track()": _koala_tracking,
    "segment, one track()": _peer("segment"),
    "posthog, one capture()": _peer("posthog"),
}


def visitors(number: int) -> Iterator[str]:
    return (str(UUID(int=(4 << 76) + (2 << 62) + each * 7919)) for each in range(number))


async def _ask(app: Any, visitor: str) -> None:
    headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [*headers, (b"cookie", f"theme=dark; ko_id={visitor}".encode())],
        "client": ("127.0.0.1", 4711),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise SystemExit(f"the site answered {message['status']}")

    await app(scope, receive, send)


def run_once(subject: str, url: str, requests: int) -> None:
    """In a process of its own, under callgrind."""
    site = SITES[subject](url)

    async def all_of_them() -> None:
        for visitor in visitors(requests):
            await _ask(site.app, visitor)

    asyncio.run(all_of_them())
    site.flush()


def _instructions(subject: str, url: str, requests: int) -> int:
    """All that a process executes, from its start to its end."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    ours = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--once", subject, "--url", url]
    done = subprocess.run(
        [*valgrind, *ours, "--requests", str(requests)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # one order of every set and dict
    )
    found = _COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"{subject}: callgrind counted nothing\n{done.stderr}")
    return int(found[1])


def counted(subjects: Sequence[str] = tuple(SITES), few: int = FEW, many: int = MANY) -> dict[str, float]:
    """Instructions of one request, by subject.

    Raises:
        ValgrindMissingError: It is not installed here.
    """
    if shutil.which("valgrind") is None:
        raise ValgrindMissingError
    with endpoint() as url, ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {
            subject: [pool.submit(_instructions, subject, url, requests) for requests in (few, many)]
            for subject in subjects
        }
        return {
            subject: (of_many.result() - of_few.result()) / (many - few)
            for subject, (of_few, of_many) in runs.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", help=f"of {', '.join(SITES)}; all if none is named")
    parser.add_argument("--once", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--requests", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        run_once(arguments.once, arguments.url, arguments.requests)
        return
    try:
        found = counted(arguments.subjects or tuple(SITES))
    except ValgrindMissingError as missing:
        raise SystemExit(str(missing)) from None
    for subject, instructions in found.items():
        print(f"{instructions:12,.0f} instructions a request   {subject}")


if __name__ == "__main__":
    main()
