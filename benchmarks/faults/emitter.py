"""The child: a WSGI app that emits one numbered event per request, through one of the subjects.

    python -m benchmarks.faults.emitter '{"subject": "memory", "url": "http://…", "events": 2000, "rate":
    200}'

Says on standard output, as JSON, how long its requests took and what the subject counted. Standard error
is the subject's own: its lines are counted by the harness.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

VISITORS = 20

Record = Callable[[Any, str, dict[str, Any]], None]  # environ, event name, properties


def koala(options: dict[str, Any]) -> tuple[Any, Record, Callable[[], None], Callable[[], dict[str, Any]]]:
    from koala_middleware.wsgi import KoalaMiddleware

    outbox = options["outbox"] if options["subject"] == "durable" else None
    middleware = KoalaMiddleware(
        _app, public_api_key="pk_fault", endpoint=options["url"], outbox=outbox, cookie_domain=None
    )

    def record(environ: Any, name: str, properties: dict[str, Any]) -> None:
        environ["koala"].track(name, properties)

    def stats() -> dict[str, Any]:
        found = middleware.client.stats()
        return {
            "accepted": found.accepted,
            "delivered": found.delivered,
            "waiting": found.waiting,
            "refused": found.refused,
            "dropped": dict(found.dropped),
        }

    def close() -> None:
        middleware.client.close()

    return middleware, record, close, stats


def nothing(_: dict[str, Any]) -> tuple[Any, Record, Callable[[], None], Callable[[], dict[str, Any]]]:
    """The app alone: what the harness itself takes, and the machine."""
    return _app, lambda *_: None, lambda: None, dict


def posthog(options: dict[str, Any]) -> tuple[Any, Record, Callable[[], None], Callable[[], dict[str, Any]]]:
    from posthog import Posthog

    client = Posthog("phc_fault", host=options["url"])

    def record(environ: Any, name: str, properties: dict[str, Any]) -> None:
        client.capture(name, distinct_id=environ["visitor"], properties=properties)

    return _app, record, client.shutdown, dict


def segment(options: dict[str, Any]) -> tuple[Any, Record, Callable[[], None], Callable[[], dict[str, Any]]]:
    from segment.analytics.client import Client

    client = Client("fault", host=options["url"])

    def record(environ: Any, name: str, properties: dict[str, Any]) -> None:
        client.track(environ["visitor"], name, properties)

    return _app, record, client.shutdown, dict


def rudder(options: dict[str, Any]) -> tuple[Any, Record, Callable[[], None], Callable[[], dict[str, Any]]]:
    from rudderstack.analytics.client import Client

    client = Client("fault", host=options["url"])

    def record(environ: Any, name: str, properties: dict[str, Any]) -> None:
        client.track(environ["visitor"], name, properties)

    return _app, record, client.shutdown, dict


def sentry(options: dict[str, Any]) -> tuple[Any, Record, Callable[[], None], Callable[[], dict[str, Any]]]:
    import sentry_sdk

    sentry_sdk.init(options["url"].replace("http://", "http://key@") + "/1", default_integrations=False)
    from sentry_sdk.integrations.atexit import AtexitIntegration

    sentry_sdk.init(
        options["url"].replace("http://", "http://key@") + "/1",
        default_integrations=False,
        integrations=[AtexitIntegration()],
    )

    def record(environ: Any, name: str, properties: dict[str, Any]) -> None:
        sentry_sdk.capture_event({"message": name, "user": {"id": environ["visitor"]}, "extra": properties})

    return _app, record, sentry_sdk.flush, dict


SUBJECTS = {
    "nothing": nothing,
    "memory": koala,
    "durable": koala,
    "posthog": posthog,
    "segment": segment,
    "rudder": rudder,
    "sentry": sentry,
}


def _app(environ: Any, start_response: Any) -> Iterable[bytes]:
    environ["emit"](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


class Emitter:
    """Counts the answered requests in a file that outlives a SIGKILL."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.app, self.record, self.close, self.stats = SUBJECTS[options["subject"]](options)
        self.prefix = options.get("prefix", "")
        with open(options["counter"], "r+b") as file:  # noqa: PTH123
            self.counter = mmap.mmap(file.fileno(), 8)
        self.times: list[int] = []
        self.raised = 0

    def request(self, number: int, properties: dict[str, Any] | None = None) -> None:
        visitor = str(UUID(int=(4 << 76) | (8 << 60) | number % VISITORS))

        def emit(environ: Any) -> None:
            try:
                self.record(
                    environ, f"fault-{self.prefix}{number}", properties or {"n": number, "text": "x" * 200}
                )
            except Exception:  # noqa: BLE001  (counted: a subject must not raise in the handler)
                self.raised += 1

        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/act",
            "QUERY_STRING": "",
            "SERVER_NAME": "shop.example",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "shop.example",
            "HTTP_COOKIE": f"ko_id={visitor}",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "visitor": visitor,
            "emit": emit,
        }
        began = time.perf_counter_ns()
        body = self.app(environ, lambda *_: None)
        for _ in body:
            pass
        if hasattr(body, "close"):
            body.close()
        self.times.append(time.perf_counter_ns() - began)
        (done,) = struct.unpack("q", self.counter[:8])
        self.counter[:8] = struct.pack("q", done + 1)

    def emit(self, events: int, rate: float | None) -> None:
        began = time.monotonic()
        for number in range(events):
            if rate and (wait := began + number / rate - time.monotonic()) > 0:
                time.sleep(wait)
            self.request(number)

    def report(self) -> dict[str, Any]:
        times = sorted(self.times) or [0]
        return {
            "p50": times[len(times) // 2] / 1e6,
            "p99": times[len(times) * 99 // 100] / 1e6,
            "max": times[-1] / 1e6,
            "raised": self.raised,
            "stats": self.stats(),
            "ended": time.time(),
        }


def poison(kind: str) -> Any:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    circular: dict[str, Any] = {}
    circular["self"] = circular
    deep: Any = "bottom"
    for _ in range(5000):
        deep = [deep]
    return {
        "object": object(),
        "set": {1, 2},
        "bytes": b"\xff\x00",
        "nan": float("nan"),
        "surrogate": "\ud800",
        "tuple key": {(1, 2): 3},
        "circular": circular,
        "deep": deep,
        "5 MB": "x" * 5_000_000,
        "hostile": Hostile(),
    }[kind]


def main() -> None:
    options = json.loads(sys.argv[1])
    emitter = Emitter(options)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if options.get("sigterm") == "sys.exit":
        import signal

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if options.get("forks"):
        forks(emitter, options["forks"], options["events"])
        return
    if kind := options.get("poison"):
        for number in range(50):
            emitter.request(number)
        emitter.prefix = "poison-"
        emitter.request(0, {"bad": poison(kind)})
        emitter.prefix = ""
        for number in range(50, options["events"]):
            emitter.request(number)
    else:
        emitter.emit(options["events"], options.get("rate"))
    if options.get("wait"):
        wait_until_idle(emitter, options["wait"])
    report = emitter.report()
    report["memory"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    if options.get("close"):
        emitter.close()
        report["stats"] = emitter.stats()
    print(json.dumps(report), flush=True)


def wait_until_idle(emitter: Emitter, seconds: float) -> None:
    """Waits for ours until nothing is waiting, at most this long; for peers, which do not tell, always this long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stats = emitter.stats()
        if stats and not stats["waiting"]:
            return
        time.sleep(0.1)


def forks(emitter: Emitter, children: int, events: int) -> None:
    """The parent uses its client, then forks; each child emits its share and exits in order."""
    emitter.prefix = "parent-"
    for number in range(10):
        emitter.request(number)
    for child in range(children):
        if os.fork() == 0:
            emitter.prefix = f"child-{child}-"
            emitter.emit(events, 500.0)
            if emitter.options.get("close"):
                emitter.close()
            sys.exit(0)
    for _ in range(children):
        os.wait()
    if emitter.options.get("close"):
        emitter.close()


if __name__ == "__main__":
    main()
