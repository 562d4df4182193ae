"""From the call to the endpoint's answer: one event each of many people, by us and by peers.

    python -m benchmarks.delivery [--people 20000] [--rounds 5] [SUBJECT ...]

Each run is a process of its own, in turn with the others, against an endpoint that costs next to nothing; what
counts is that process: its CPU seconds per 10 000 events, and events a second until the last one was answered.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from benchmarks.endpoint import collecting, counted, endpoint

PROPERTIES = {"plan": "pro", "seats": 12}
EVENT = "Signed Up"
ROOM = 10**6  # of every subject's queue, so that none loses anything

Track = Callable[[str], object]
Flush = Callable[[], object]


def koala(url: str, **settings: Any) -> tuple[Track, Flush]:
    from koala_middleware import KoalaClient

    client = KoalaClient(
        public_api_key="pk_bench", endpoint=url, outbox_max_entries=ROOM, outbox_max_bytes=10**9, **settings
    )

    def track(person: str) -> None:
        with client.person(profile_id=person) as context:
            context.track(EVENT, dict(PROPERTIES))

    def flush() -> None:
        if not client.flush(120).complete:
            raise SystemExit("not everything was delivered")

    return track, flush


def koala_delivery(url: str) -> tuple[Track, Flush]:
    """Delivery alone: batches that are encoded already."""
    from koala_middleware import KoalaClient
    from koala_middleware.payload.values.sized_json import to_json
    from koala_middleware.protocol.batches import Batch, Entry
    from koala_middleware.protocol.subjects import Person

    client = KoalaClient(
        public_api_key="pk_bench", endpoint=url, outbox_max_entries=ROOM, outbox_max_bytes=10**9
    )
    context = {"library": {"name": "koala_middleware", "version": "0.1.0"}}
    stamped = {"message_id": str(UUID(int=7)), "sent_at": "2026-11-23T09:57:14.776Z"}
    body = to_json({"type": "track", "event": EVENT, **stamped, "properties": PROPERTIES, "context": context})

    def track(person: str) -> None:
        client._pipeline.delivery.put(Batch(Person(person), (Entry("track", body),)))

    return track, lambda: client.flush(120)


def koala_curl(url: str) -> tuple[Track, Flush]:
    return koala(url, transport="curl")


def koala_durable(url: str) -> tuple[Track, Flush]:
    return koala(url, outbox=tempfile.mkdtemp())


def segment(url: str) -> tuple[Track, Flush]:
    from segment.analytics.client import Client

    client = Client("key", host=url, max_queue_size=ROOM)
    return lambda person: client.track(person, EVENT, dict(PROPERTIES)), client.flush


def rudder(url: str) -> tuple[Track, Flush]:
    from rudderstack.analytics.client import Client

    client = Client("key", host=url, max_queue_size=ROOM)
    return lambda person: client.track(person, EVENT, dict(PROPERTIES)), client.flush


def posthog(url: str) -> tuple[Track, Flush]:
    from posthog import Posthog

    client = Posthog("phc_key", host=url, max_queue_size=ROOM)
    return (
        lambda person: client.capture(EVENT, distinct_id=person, properties=dict(PROPERTIES)),
        client.flush,
    )


@dataclass(frozen=True)
class Subject:
    """Attributes: `to` names the endpoint that it sends to."""

    name: str
    make: Callable[[str], tuple[Track, Flush]]
    to: str = "cheap"


SUBJECTS = {
    "koala": Subject("koala_middleware, in bulk", koala),
    "koala-delivery": Subject("the same, delivery alone", koala_delivery),
    "koala-durable": Subject("koala_middleware, in bulk, durable outbox", koala_durable),
    "koala-collector": Subject("koala_middleware, in bulk, to its own collector", koala, "collector"),
    "koala-plain": Subject("koala_middleware, one POST a person", koala, "no bulk"),
    "koala-plain-curl": Subject("koala_middleware, one POST a person, curl", koala_curl, "no bulk"),
    "segment": Subject("segment", segment),
    "posthog": Subject("posthog", posthog),
    "rudder": Subject("rudder", rudder),
}


@dataclass(frozen=True)
class Cost:
    """Medians of a subject's runs. `cpu`: seconds per 10 000 events; `rate`: events a second."""

    cpu: float
    rate: float


def run_once(subject: str, url: str, people: int) -> None:
    """Runs in a process of its own and prints what it took."""
    track, flush = SUBJECTS[subject].make(url)
    persons = [str(UUID(int=(4 << 76) + (2 << 62) + number * 7919)) for number in range(people)]
    track(persons.pop())  # opens connections and threads
    flush()
    began, used = time.perf_counter(), time.process_time()
    for person in persons:
        track(person)
    flush()
    took, used = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({"cpu": used / len(persons) * 10_000, "rate": len(persons) / took}))


def compared(subjects: list[str], people: int, rounds: int) -> dict[str, Cost]:
    """Each subject's medians; every round has all of them in turn."""
    runs: dict[str, list[dict[str, float]]] = {subject: [] for subject in subjects}
    with endpoint() as cheap, endpoint("--no-bulk") as plain, collecting() as collector:
        urls = {"cheap": cheap, "no bulk": plain, "collector": collector}
        for _ in range(rounds):
            for subject in subjects:
                runs[subject].append(_run(subject, urls[SUBJECTS[subject].to], people))
    return {
        subject: Cost(*(statistics.median(run[what] for run in found) for what in ("cpu", "rate")))
        for subject, found in runs.items()
    }


def _run(subject: str, url: str, people: int) -> dict[str, float]:
    before = counted(url)
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--once", subject, "--url", url]
    done = subprocess.run([*command, "--people", str(people)], stdout=subprocess.PIPE, text=True, check=True)
    if (arrived := counted(url) - before) < people:
        raise SystemExit(f"{subject}: only {arrived} of {people} arrived")
    run: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", help=f"of {', '.join(SUBJECTS)}; all if none is named")
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        run_once(arguments.once, arguments.url, arguments.people)
        return
    for subject, cost in compared(
        arguments.subjects or list(SUBJECTS), arguments.people, arguments.rounds
    ).items():
        print(f"{cost.rate:8,.0f} events/s {cost.cpu:6.3f} CPU s per 10 000   {SUBJECTS[subject].name}")


if __name__ == "__main__":
    main()
