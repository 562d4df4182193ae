"""`koala-middleware relay --from kafka` and `--from redis`: empties a broker, from a process of its own."""

from __future__ import annotations

import argparse
import signal
import threading

from koala_middleware.cli.progress import progress
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.relay.pump import pump
from koala_middleware.delivery.relay.relay import Relay
from koala_middleware.delivery.relay.source import Source
from koala_middleware.errors import KoalaConfigError


def relay_from_broker(arguments: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT; with `--once` until nothing is left."""
    given = {name: getattr(arguments, name) for name in ("broker", "outbox", "endpoint", "public_api_key")}
    settings = {name: value for name, value in given.items() if value is not None}
    try:
        config = KoalaConfig.load({**settings, "delivery": "thread", "transport": arguments.source})
    except KoalaConfigError as error:
        raise SystemExit(str(error)) from None
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    relay = Relay(config)
    with progress() as advance:
        pump(source_of(config), relay, ended, once=arguments.once, advance=advance)
    relay.close()
    for key, stats in relay.stats().items():
        left_out = sum(stats.dropped.values())
        print(  # noqa: T201  (a command's answer)
            f"{key}: {stats.delivered} entries delivered, {stats.refused} refused, {left_out} left out"
        )
    return 0


def source_of(config: KoalaConfig) -> Source:
    """Loads nothing of the other kinds."""
    if config.transport == "kafka":
        from koala_middleware.delivery.relay.kafka_source import KafkaSource  # noqa: PLC0415  (see above)

        return KafkaSource(config)
    from koala_middleware.delivery.relay.redis_source import RedisSource  # noqa: PLC0415

    return RedisSource(config)
