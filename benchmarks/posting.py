"""One kept-alive connection, one thread, one small POST after the other: what each way of sending costs.

    python -m benchmarks.posting [--posts 2000] [--rounds 5]

The limits that delivery stands between, and the reason why it asks requests' pool for a connection, and http.client
over that.
"""

from __future__ import annotations

import argparse
import http.client
import io
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

import pycurl
import requests

from benchmarks.endpoint import endpoint
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.choosing import transport_for
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.request_bodies import request_body
from koala_middleware.protocol.subjects import Person

PATH = "/web/projects/pk_bench/batch"
BATCH = Batch(
    Person("3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"),
    (
        Entry(
            "track", b'{"type":"track","event":"Signed Up","message_id":"018b","properties":{"plan":"pro"}}'
        ),
    ),
)
BODY = request_body(BATCH)
HEADERS = {"Content-Type": "application/json", "User-Agent": "bench/1.0"}

Once = Callable[[], object]


def raw_socket(url: str) -> Once:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port))
    head = f"POST {PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()

    def once() -> None:
        connection.sendall(head + BODY)
        connection.recv(4096)

    return once


def http_client(url: str) -> Once:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def once() -> None:
        connection.request("POST", PATH, BODY, HEADERS)
        connection.getresponse().read()

    return once


def session(url: str) -> Once:
    kept = requests.Session()
    return lambda: kept.post(url + PATH, data=BODY, headers=HEADERS, timeout=5).content


def adapter(url: str) -> Once:
    kept = requests.Session()
    prepared = kept.prepare_request(requests.Request("POST", url + PATH, data=BODY, headers=HEADERS))
    sender = kept.get_adapter(url)
    return lambda: sender.send(prepared, timeout=5).content


def ours(url: str, transport: Literal["http", "curl"] = "http") -> Once:
    sender = transport_for(KoalaConfig(public_api_key="pk_bench", endpoint=url, transport=transport))
    return lambda: sender.send(BATCH, 5.0)


def curl(url: str) -> Once:
    """libcurl alone, on its kept connection."""
    handle, content = pycurl.Curl(), io.BytesIO()
    handle.setopt(pycurl.URL, url + PATH)
    handle.setopt(pycurl.HTTPHEADER, [*(f"{name}: {value}" for name, value in HEADERS.items()), "Expect:"])
    handle.setopt(pycurl.WRITEDATA, content)

    def once() -> None:
        handle.setopt(pycurl.POSTFIELDS, BODY)
        handle.perform()

    return once


CLIENTS: dict[str, Callable[[str], Once]] = {
    "raw socket (the limit)": raw_socket,
    "pycurl": curl,
    "koala_middleware's transport (curl)": partial(ours, transport="curl"),
    "http.client": http_client,
    "koala_middleware's transport (requests' pool)": ours,
    "requests, adapter.send of a prepared request": adapter,
    "requests, Session.post": session,
}


@dataclass(frozen=True)
class Cost:
    """Medians. `cpu`: microseconds a POST; `rate`: POSTs a second."""

    cpu: float
    rate: float


def compared(posts: int, rounds: int) -> dict[str, Cost]:
    runs: dict[str, list[Cost]] = {name: [] for name in CLIENTS}
    with endpoint() as url:
        calls = {name: make(url) for name, make in CLIENTS.items()}
        for _ in range(rounds):
            for name, once in calls.items():
                runs[name].append(_round(once, posts))
    return {
        name: Cost(statistics.median(run.cpu for run in found), statistics.median(run.rate for run in found))
        for name, found in runs.items()
    }


def _round(once: Once, posts: int) -> Cost:
    once()
    began, used = time.perf_counter(), time.process_time()
    for _ in range(posts):
        once()
    return Cost((time.process_time() - used) / posts * 1e6, posts / (time.perf_counter() - began))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for name, cost in compared(arguments.posts, arguments.rounds).items():
        print(f"{cost.rate:8,.0f} POSTs/s {cost.cpu:6.0f} µs CPU   {name}")


if __name__ == "__main__":
    main()
