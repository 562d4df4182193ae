"""What each broker loses, doubles and puts out of order while everything around it fails, and what it costs.

python tests/delivery/brokers/long_run.py            # about twelve minutes; the tables of docs/how-to/transports.md
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from confluent_kafka import Producer
from support.brokers import Broker, RabbitServer, RedisServer, running
from support.chains import KINDS, Chain, Kind, chained, web_config
from support.crowd import Crowd

from koala_middleware.delivery.transports.choosing import transport_for
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person
from koala_middleware.testing.collector import Collector

SERVERS: dict[str, Callable[[Path], Broker]] = {"rabbit": RabbitServer, "redis": RedisServer}
TICK = 0.2  # seconds; each of 20 people says one thing: 100 events a second
SECONDS = 75.0
CUT = 20.0
SETTLED = 30.0  # seconds without another event: nothing more will come
KILLS = 10
ROUNDS = 500

ENTRY = Entry(
    "track", b'{"type": "track", "event": "E", "message_id": "cost", "properties": {"plan": "pro"}}'
)


def main() -> None:
    print("| handing in one batch | median | p99 | processor |\n|---|---|---|---|")
    for name, (walls, processors) in costs().items():
        median, processor = statistics.median(walls) * 1000, statistics.median(processors) * 1000
        slow = sorted(walls)[int(len(walls) * 0.99)] * 1000
        print(f"| {name} | {median:.2f} ms | {slow:.1f} ms | {processor:.2f} ms |", flush=True)
    print(f"\n| | events | lost | doubled | out of order | lost in {KILLS} kills | delivered |")
    print("|---|---|---|---|---|---|---|")
    for name, kind in KINDS.items():
        with standing(kind) as chain:
            rate, lost = drain_rate(chain), kills(chain)
            crowd = chain.crowd("long")
            run(chain, crowd)
        row = (crowd.said, crowd.missing, crowd.doubled, f"{len(crowd.out_of_order)} of 20", lost)
        print(f"| {name} | " + " | ".join(map(str, row)) + f" | {rate:.0f}/s |", flush=True)


@contextmanager
def standing(kind: Kind) -> Iterator[Chain]:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        (Path(folder) / "broker").mkdir()
        with (
            running(SERVERS[kind.broker](Path(folder) / "broker")) as broker,
            chained(kind, broker, Path(folder)) as chain,
        ):
            yield chain


def run(chain: Chain, crowd: Crowd) -> None:
    """A steady rate while the worker is killed four times, the network cut and the broker killed; then until
    nothing moves."""
    faults = threading.Thread(target=trouble, args=(chain,))
    faults.start()
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends or faults.is_alive():
        crowd.speaks(1)
        time.sleep(TICK)
    settle(chain, crowd)


def trouble(chain: Chain) -> None:
    for _ in range(4):
        time.sleep(4)
        chain.worker.kill()
        time.sleep(1)
        chain.worker.start()
    time.sleep(4)
    chain.cable.cut()
    time.sleep(CUT)
    chain.cable.mend()
    time.sleep(4)
    chain.broker.restart()


def settle(chain: Chain, crowd: Crowd, seconds: float = SETTLED) -> None:
    missing, since = crowd.missing, time.monotonic()
    while crowd.missing and time.monotonic() - since < seconds:
        time.sleep(0.5)
        chain.worker.revive()
        if crowd.missing != missing:
            missing, since = crowd.missing, time.monotonic()


def kills(chain: Chain) -> int:
    """Kills the worker in full work, again and again; how many events never came."""
    lost = 0
    for number in range(KILLS):
        crowd = chain.crowd(f"kill-{number}")
        crowd.speaks(5)
        chain.wait_for_some(crowd)
        chain.worker.kill()
        chain.worker.start()
        settle(chain, crowd, 15.0)
        lost += crowd.missing
    return lost


def drain_rate(chain: Chain) -> float:
    """Events a second from a worker's first to its last, of messages that were there before it began."""
    chain.worker.kill()
    crowd = chain.crowd("drain", people=200)
    for _ in range(10):  # one message each: no two of a person are gathered on their way in
        crowd.speaks(1)
        chain.delivery.flush(60)
    chain.worker.start()
    while crowd.missing == crowd.said:
        time.sleep(0.01)
    began, there = time.monotonic(), crowd.said - crowd.missing
    while crowd.missing:
        time.sleep(0.5)  # to look costs time that the endpoint, in this process, needs
    return (crowd.said - there) / (time.monotonic() - began)


def costs() -> dict[str, tuple[list[float], list[float]]]:
    """By transport, seconds and processor seconds of each send; all in turn, so that all have the same
    machine."""
    batch = Batch(Person(profile_id="cost"), (ENTRY,))
    found: dict[str, tuple[list[float], list[float]]] = {}
    with ExitStack() as stack:
        transports = {
            name: transport_for(web_config(Path(), **settings))
            for name, settings in everything(stack).items()
        }
        for _ in range(ROUNDS):
            for name, transport in transports.items():
                began, worked = time.perf_counter(), time.thread_time()
                transport.send(batch, 5.0)
                walls, processors = found.setdefault(name, ([], []))
                walls.append(time.perf_counter() - began)
                processors.append(time.thread_time() - worked)
        for transport in transports.values():
            transport.close()
    return found


def everything(stack: ExitStack) -> dict[str, dict[str, Any]]:
    """Settings of every transport, each with something real behind it, without the cable."""
    brokers = {}
    for name, made in SERVERS.items():
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        brokers[name] = stack.enter_context(running(made(Path(folder))))
    mock = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "", "log_level": 0})
    stack.callback(mock.purge)
    simulated = ",".join(f"{one.host}:{one.port}" for one in mock.list_topics(timeout=20).brokers.values())
    through = {name: kind.made(brokers[kind.broker].port)[0] for name, kind in KINDS.items()}
    return {
        "HTTP, no broker": {"endpoint": stack.enter_context(Collector()).url},
        **through,
        "Kafka (simulated)": {"transport": "kafka", "broker": simulated},
    }


if __name__ == "__main__":
    main()
