"""An endpoint that costs next to nothing, in a process of its own: takes whatever is posted, answers 200, and counts.

    python benchmarks/endpoint.py [--delay SECONDS]      # prints its URL, then serves until it is ended

Knows as much HTTP as our and the peers' clients speak. `GET /metrics` answers how many entries came, in the real
collector's words; the bootstrap says that it takes bulk, unless `--no-bulk`. It looks into a body only to count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

_OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n{"ok":true,"status":"done"}'
_GZIP = 16 + zlib.MAX_WBITS
# What every client's event has once: ours, segment's and rudder's, posthog's.
_MARKS = (b'"message_id"', b'"messageId"', b'"uuid"')


class Endpoint(asyncio.Protocol):
    """One connection."""

    entries = 0
    delay = 0.0
    bulk = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._came = b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(b"\r\n\r\n")) >= 0:
            head = self._came[:end]
            length = _length(head)
            if len(self._came) < end + 4 + length:
                return
            body, self._came = self._came[end + 4 : end + 4 + length], self._came[end + 4 + length :]
            answer = self._answer(head, body)
            if self.delay and not head.startswith(b"GET"):
                asyncio.get_running_loop().call_later(self.delay, self._transport.write, answer)
            else:
                self._transport.write(answer)

    def _answer(self, head: bytes, body: bytes) -> bytes:
        counts = Endpoint
        if head.startswith(b"GET /metrics"):
            return _reply(200, b"\nkoala_collector_entries_total %d\n" % counts.entries)
        if head.startswith(b"GET"):
            return _reply(200, json.dumps({"bulk": self.bulk}).encode())
        if body[:2] == b"\x1f\x8b":  # gzip
            body = zlib.decompress(body, _GZIP)
        counts.entries += sum(body.count(mark) for mark in _MARKS)
        if head.split(b" ", 2)[1].endswith(b"/bulk"):
            return _reply(207, b'{"answers":[%b]}' % b",".join([b'{"status":200}'] * body.count(b"\n")))
        return _OK


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


def _reply(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


@contextmanager
def endpoint(*options: str) -> Iterator[str]:
    """Its URL, while it serves."""
    process = subprocess.Popen([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


@contextmanager
def collecting() -> Iterator[str]:
    """The URL of a real collector with a new database, while it runs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "koala_middleware.cli", "collector", "--port", "0"]
        process = subprocess.Popen(
            [*command, "--database", f"{folder}/bench.db"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("Collector:").strip()
        finally:
            process.terminate()
            process.wait()


def counted(url: str) -> int:
    """How many entries came so far, to one of these or to a collector."""
    with urllib.request.urlopen(url + "/metrics") as answer:
        text: str = answer.read().decode()
    return int(float(text.partition("\nkoala_collector_entries_total ")[2].split()[0]))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0, backlog=500)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--no-bulk", action="store_true", help="say so in the bootstrap")
    arguments = parser.parse_args()
    Endpoint.delay, Endpoint.bulk = arguments.delay, not arguments.no_bulk
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
