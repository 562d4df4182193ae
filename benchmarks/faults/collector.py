"""A collector that misbehaves as it is told, in a thread of its own, and remembers what it took.

Understands every subject's body: any JSON object that names an event `fault-N` counts, with its
idempotency key.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import socket
import struct
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

_NAME = re.compile(r"fault-(\S+)")
_KEYS = ("message_id", "messageId", "uuid", "event_id")
_ANSWER = {"ok": True, "success": True, "status": 1}


class Collector:
    """`mode` may be changed at any time: "ok", "500", "429", "hang", "slow", "reset", "stale", "suspended",
    "bad" (400 to whatever holds event 250), or "down" (through `down()` and `up()`)."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.arrived: dict[str, list[str]] = defaultdict(
            list
        )  # event -> idempotency keys, in order of arrival
        self.requests: list[float] = []
        self.undecodable = 0
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._tasks: set[asyncio.Task[None]] = set()

    def up(self) -> None:
        self._do(self._start())

    def down(self) -> None:
        self._do(self._stop())

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, reuse_address=True, backlog=500
            )

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = {name.lower(): value.strip() for name, _, value in _fields(head)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(self._loop.time())
        mode, self._turn = self.mode, self._turn + 1
        if mode == "hang":
            while self.mode == "hang":
                await asyncio.sleep(0.1)
            return False
        if mode == "slow":
            await asyncio.sleep(1.0)
        bulk = head.split(" ", 2)[1].endswith("/bulk")
        status, answer, more = (self._take_bulk if bulk else self._take)(mode, headers, body)
        if head.startswith("GET") and status < 300:
            answer = {"bulk": True}
        if mode == "reset" and self._turn % 2 == 0:
            _reset(writer)
            return False
        content = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        if mode == "stale":  # kept open, and reset as soon as the next request comes, without reading it
            await reader.readexactly(1)
            _reset(writer)
            return False
        return True

    def _take(self, mode: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any], str]:
        found = list(self._events(headers, body))
        reply = _reply(mode, found)
        if reply[0] < 300:
            for event, key in found:
                self.arrived[event].append(key)
        return reply

    def _take_bulk(self, mode: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any], str]:
        """Each line as a request of its own, unless nothing is taken anyway."""
        if (whole := _reply(mode, []))[0] >= 300:
            return whole
        lines = _decompressed(body, headers.get("content-encoding", "")).splitlines()
        replies = [self._take(mode, {}, line) for line in lines]
        return 207, {"answers": [{**answer, "status": status} for status, answer, _ in replies]}, ""

    def _events(self, headers: dict[str, str], body: bytes) -> Iterator[tuple[str, str]]:
        try:
            text = _decompressed(body, headers.get("content-encoding", "")).decode()
            documents = [json.loads(line) for line in text.splitlines() if line.strip().startswith("{")]
        except (ValueError, OSError, zlib.error, UnicodeDecodeError):
            self.undecodable += bool(body)
            return
        for document in documents:
            yield from _named(document)


def _free_port() -> int:
    """Below the range that the kernel gives to others while a collector is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


def _fields(head: str) -> Iterator[tuple[str, str, str]]:
    for line in head.split("\r\n")[1:]:
        yield line.partition(":")


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "deflate":
        return zlib.decompress(body)
    return body


def _named(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        name = value.get("event") or value.get("message")
        if isinstance(name, str) and (match := _NAME.fullmatch(name)):
            yield match.group(1), str(next((value[key] for key in _KEYS if key in value), ""))
            return
        for inner in value.values():
            yield from _named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)


def _reply(mode: str, found: list[tuple[str, str]]) -> tuple[int, dict[str, Any], str]:
    if mode == "500":
        return 500, {"error": "not now"}, ""
    if mode == "429":
        return 429, {"error": "slower"}, "Retry-After: 3\r\n"
    if mode == "suspended":
        return 400, {"error": "Koala ingest suspended"}, ""
    if mode == "bad" and any(event == "250" for event, _ in found):
        return 400, {"error": "bad event"}, ""
    return 200, _ANSWER, ""


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
