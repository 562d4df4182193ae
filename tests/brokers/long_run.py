"""What a long run through each broker loses, doubles and puts out of order, and what handing a batch in costs.

    python tests/brokers/long_run.py            # about six minutes; a table on standard output

Events at a steady rate while the worker is killed four times, the network is cut for 20 s and the broker is
killed and started again. Then a wait until nothing moves any more.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.brokers import Broker, RabbitServer, RedisServer, running
from support.chains import KINDS, Chain, chained, web_config
from support.crowd import Crowd

from koala_middleware.delivery.transport import transport_for
from koala_middleware.wire import Batch, Entry, Person

SERVERS: dict[str, Callable[[Path], Broker]] = {"rabbit": RabbitServer, "redis": RedisServer}
TICK = 0.2  # seconds; each of 20 people says one thing: 100 events a second
SECONDS = 75.0
CUT = 20.0
SETTLED = 30.0  # seconds without another event: nothing more will come


def main() -> None:
    print("| through | events | lost | doubled | out of order | handing in a batch | delivered a second |")
    print("|---|---|---|---|---|---|---|")
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            (Path(folder) / "broker").mkdir()
            broker = SERVERS[kind.broker](Path(folder) / "broker")
            with running(broker), chained(kind, broker, Path(folder)) as chain:
                cost, rate = publish_cost(chain), drain_rate(chain)
                crowd = chain.crowd("long")
                run(chain, crowd)
        row = (name, crowd.said, crowd.missing, crowd.doubled, len(crowd.out_of_order), cost, f"{rate:.0f}")
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def run(chain: Chain, crowd: Crowd) -> None:
    faults = threading.Thread(target=trouble, args=(chain,))
    faults.start()
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends or faults.is_alive():
        crowd.speaks(1)
        time.sleep(TICK)
    missing, since = crowd.missing, time.monotonic()
    while crowd.missing and time.monotonic() - since < SETTLED:
        time.sleep(0.5)
        chain.worker.revive()
        if crowd.missing != missing:
            missing, since = crowd.missing, time.monotonic()


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


def publish_cost(chain: Chain) -> str:
    """Median and 99th percentile for one batch of one event, on a warm connection without the cable."""
    settings, _ = chain.kind.made(chain.broker.port)
    transport = transport_for(web_config(Path(), **settings))
    times = sorted(timed(transport.send) for _ in range(500))[:-5]
    transport.close()
    return f"{statistics.median(times) * 1000:.2f} ms (p99 {times[-1] * 1000:.1f})"


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


def timed(send: Callable[[Batch, float], object]) -> float:
    body = b'{"type": "track", "event": "E", "message_id": "cost", "properties": {"plan": "pro"}}'
    batch = Batch(Person(profile_id="cost"), (Entry("track", body),))
    began = time.perf_counter()
    send(batch, 5.0)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
