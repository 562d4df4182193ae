"""A real collector on a port of its own, in a thread of the test's process; and what a sender sends."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from starlette.applications import Starlette
from support.waiting import until

KEY = "pk_test"
DEADLINE = 10.0  # seconds for anything that is waited for
on_both_stores = pytest.mark.parametrize("new_database", ["sqlite", "postgresql"], indirect=True)


@dataclass
class Running:
    """A collector that listens, and one sender's connection to it."""

    url: str
    app: Starlette
    session: requests.Session

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=DEADLINE, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.url + path, timeout=DEADLINE, **options)

    def send(self, key: str = KEY, **body: Any) -> requests.Response:
        """One person's batch."""
        return self.post(f"/web/projects/{key}/batch", json=body)

    def send_account(self, **body: Any) -> requests.Response:
        return self.post(f"/web/projects/{KEY}/accounts/batch", json=body)

    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.get("/api/entries").json()["entries"]
        return entries

    def people(self) -> dict[str, dict[str, Any]]:
        """By email."""
        return {person["email"]: person for person in self.get("/api/people").json()["people"]}

    def timeline(self, email: str) -> list[str]:
        """A person's events, oldest first."""
        mine = [entry for entry in self.entries() if entry["email"] == email]
        return [entry["event"] or entry["kind"] for entry in sorted(mine, key=lambda entry: entry["sent_at"])]

    def requests(self) -> list[dict[str, Any]]:
        """As they came, newest first."""
        kept: list[dict[str, Any]] = self.get("/api/requests").json()["requests"]
        return kept


@contextmanager
def listening(app: Starlette, **options: Any) -> Iterator[Running]:
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=0, log_level="error", timeout_graceful_shutdown=2, proxy_headers=False, **options
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with requests.Session() as session:
            session.headers["User-Agent"] = "tests/1.0"
            yield Running(f"http://127.0.0.1:{port}", app, session)
    finally:
        app.state.collector.close_streams()
        server.should_exit = True
        thread.join(DEADLINE)


def event(name: str, sent_at: str | None = None, **more: Any) -> dict[str, Any]:
    """One event, with an id of its own."""
    sent = {"sent_at": sent_at} if sent_at else {}
    return {"type": "track", "event": name, "message_id": str(uuid.uuid4()), **sent, **more}


Serve = Callable[..., Running]
Database = str | Path
