"""`koala-middleware relay`: delivers a durable outbox, or what a broker holds, from a process of its own.

Settings come from options, else from the environment.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from koala_middleware.cli.options import counted, load_config
from koala_middleware.cli.outbox import existing_outbox
from koala_middleware.cli.progress import progress_bar

if TYPE_CHECKING:
    from koala_middleware.cli.options import Subcommands
    from koala_middleware.config.settings import KoalaConfig
    from koala_middleware.delivery import DeliveryStats
    from koala_middleware.delivery.relay.source import Source

_PATIENCE = 60.0  # seconds without progress until --once gives up
_STEP = 1.0  # seconds of one flush


def register(subcommands: Subcommands) -> None:
    relay = subcommands.add_parser(
        "relay",
        help="deliver a durable outbox, or what a broker holds, from a process of its own",
        description='Delivers what web workers with delivery="relay" and ended processes leave in an outbox, or '
        'what web workers with transport="kafka" or "redis" hand to a broker.',
    )
    relay.add_argument(
        "--from",
        dest="source",
        choices=("outbox", "kafka", "redis"),
        default="outbox",
        help="what to empty: a durable outbox or a broker (default: %(default)s)",
    )
    relay.add_argument("--broker", metavar="ADDRESS", help="default: $KOALA_BROKER")
    relay.add_argument("--outbox", metavar="DIRECTORY", help="default: $KOALA_OUTBOX")
    relay.add_argument("--endpoint", metavar="URL", help="default: $KOALA_ENDPOINT")
    relay.add_argument("--key", metavar="pk_…", dest="public_api_key", help="default: $KOALA_PUBLIC_API_KEY")
    relay.add_argument("--once", action="store_true", help="deliver what is there, then exit")
    relay.add_argument(
        "--timeout",
        type=float,
        default=_PATIENCE,
        metavar="SECONDS",
        help="with --once: give up after so long without progress (default: %(default)g)",
    )
    relay.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Delivers until SIGTERM or SIGINT, or with `--once` until nothing is left."""
    ended = threading.Event()
    stall = _StallTimer(ended, arguments.timeout if arguments.once else None)
    run_from = _relay_outbox if arguments.source == "outbox" else _relay_broker
    return run_from(arguments, ended, stall)


def _relay_outbox(arguments: argparse.Namespace, ended: threading.Event, stall: _StallTimer) -> int:
    from koala_middleware.delivery import Delivery  # noqa: PLC0415  (only when the command runs)

    names = ("outbox", "endpoint", "public_api_key")
    config = load_config(arguments, names, delivery="thread", flush_interval=0)
    if arguments.once or config.outbox is None:
        existing_outbox(config.outbox)
    delivery = Delivery(config)
    _end_by_signal(ended)
    delivery.adopt()
    with progress_bar(delivery.stats().waiting) as advance, stall:
        while not ended.is_set():
            delivered = delivery.flush(_STEP).delivered
            advance(delivered)
            if delivered:
                stall.restart()
            if arguments.once and not delivery.stats().waiting:
                break
            ended.wait(0.2)
    reason = delivery.health().reason
    delivery.close()
    stats = delivery.stats()
    _print_summary(config.public_api_key, stats)
    if stats.waiting:
        waiting = counted(stats.waiting, "entry still waits", "entries still wait")
        _warn(f"{waiting}{f': {reason}' if reason else '.'}")
    return 1 if stats.waiting or stats.dropped else 0


def _relay_broker(arguments: argparse.Namespace, ended: threading.Event, stall: _StallTimer) -> int:
    from koala_middleware.delivery.relay.pump import pump  # noqa: PLC0415  (only when the command runs)
    from koala_middleware.delivery.relay.relay import Relay  # noqa: PLC0415

    names = ("broker", "outbox", "endpoint", "public_api_key")
    config = load_config(arguments, names, delivery="thread", transport=arguments.source)
    _end_by_signal(ended)
    relay = Relay(config)
    with progress_bar() as advance, stall:
        source = _open_source(config)
        pump(source, relay, ended, once=arguments.once, advance=stall.restarted_by(advance))
    relay.close()
    for key, stats in relay.stats().items():
        _print_summary(key, stats)
    if stall.stalled:
        _warn(f"Nothing was delivered for {arguments.timeout:g} s. The broker keeps what is left.")
    return 1 if stall.stalled else 0


def _open_source(config: KoalaConfig) -> Source:
    """Imports only the client of this broker."""
    if config.transport == "kafka":
        from koala_middleware.delivery.relay.kafka_source import KafkaSource  # noqa: PLC0415  (see above)

        return KafkaSource(config)
    from koala_middleware.delivery.relay.redis_source import RedisSource  # noqa: PLC0415

    return RedisSource(config)


class _StallTimer:
    """Sets `ended` after so many seconds without progress; never if None.

    Attributes:
        stalled: Whether it did.
    """

    def __init__(self, ended: threading.Event, seconds: float | None) -> None:
        self._ended = ended
        self._seconds = seconds
        self._last_progress = time.monotonic()
        self.stalled = False

    def restart(self) -> None:
        self._last_progress = time.monotonic()

    def restarted_by(self, advance: Callable[[int], object]) -> Callable[[int], object]:
        """The same function, which also restarts the timer."""

        def advance_and_restart(number: int) -> None:
            self.restart()
            advance(number)

        return advance_and_restart

    def __enter__(self) -> None:
        self.restart()
        if self._seconds is not None:
            threading.Thread(target=self._watch, args=(self._seconds,), daemon=True).start()

    def __exit__(self, *_exception: object) -> None:
        self._seconds = None

    def _watch(self, seconds: float) -> None:
        while self._seconds is not None and not self._ended.is_set():
            left = self._last_progress + seconds - time.monotonic()
            if left <= 0:
                self.stalled = True
                self._ended.set()
            self._ended.wait(min(max(left, 0.0), _STEP))


def _end_by_signal(ended: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())


def _print_summary(key: str, stats: DeliveryStats) -> None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in stats.dropped.items())
    dropped = f"{sum(stats.dropped.values())} dropped{f' ({reasons})' if reasons else ''}"
    delivered = counted(stats.delivered, "entry", "entries")
    sys.stdout.write(f"{key}: {delivered} delivered, {stats.refused} refused, {dropped}\n")


def _warn(line: str) -> None:
    sys.stderr.write(line + "\n")
