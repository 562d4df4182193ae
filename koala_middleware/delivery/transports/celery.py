"""Celery: batches as tasks of the site's own app, over whatever broker it has.

One task, `koala_middleware.deliver`, in so many queues; one person's batches are always in the same one.
Imports Celery: loaded by those who chose it.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import Reject, SoftTimeLimitExceeded
from kombu import Producer, Queue

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.relay.relay import Relay
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.broker_answers import TAKEN, kind_of
from koala_middleware.delivery.transports.broker_message import Message
from koala_middleware.delivery.transports.untraced import uninstrumented
from koala_middleware.log_once import LogOnce, logger
from koala_middleware.protocol.batches import Batch

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

TASK = "koala_middleware.deliver"
PATIENCE = 600.0  # seconds; RabbitMQ takes a message back after 1800, Redis (kombu) gives it twice after 3600
_notices = LogOnce()
_GRACE = 60.0  # seconds until Celery's own limits, for what the site's may be
_ONE_CONSUMER = {"x-single-active-consumer": True}  # RabbitMQ: others stand by; elsewhere it means nothing


class CeleryTransport:
    """One connection to the app's broker, for one thread at a time. Taken means: the broker confirmed it."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def send(self, batch: Batch, timeout: float) -> Answer:
        """One task. Waits `timeout` seconds at most to connect, and again for the broker's word."""
        sent = False
        try:
            with uninstrumented():
                app = app_of(self._config)
                producer = self._producer or self._connected(app, timeout)
                sent = True
                self._publish(app, producer, Message.of(batch, self._config), timeout)
        except Exception as error:  # noqa: BLE001  (each broker's client has its own: whatever it is, the batch stays)
            self._let_go()
            return Answer(None, kind_of(error, sent=sent))
        return TAKEN

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()

    def _publish(self, app: Celery, producer: Producer, message: Message, timeout: float) -> None:
        queue = queue_of(app, self._config, message.shard(self._config.shards))
        app.send_task(
            TASK,
            (message.public_api_key, message.body.decode()),
            producer=producer,
            # Named in full, so that no catch-all route of the site's takes it elsewhere.
            queue=queue,  # type: ignore[arg-type]  # (celery-types knows names only)
            exchange="",
            routing_key=queue.name,
            mandatory=True,  # else a broker that has lost the queue confirms, and drops
            retry=False,
            timeout=timeout,
            confirm_timeout=timeout,
            ignore_result=True,
            add_to_parent=False,
            argsrepr="(one batch)",  # logs and monitors show this: no personal data
        )

    def _connected(self, app: Celery, timeout: float) -> Producer:
        self._connection = connection = app.connection_for_write(
            connect_timeout=timeout,
            transport_options={
                "confirm_publish": True,
                **dict.fromkeys(("read_timeout", "write_timeout"), timeout),  # AMQP's names
                **dict.fromkeys(("socket_timeout", "socket_connect_timeout"), timeout),  # Redis's
            },
        )
        connection.ensure_connection(max_retries=1, interval_start=0)
        self._producer = Producer(connection.channel())
        return self._producer

    def _let_go(self) -> None:
        """Without a farewell: it would wait for a broker that may be gone."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.collect(socket_timeout=0.1)


def app_of(config: KoalaConfig) -> Celery:
    """The site's app; imported when first needed, since it may itself be about to import its site."""
    given = config.celery_app
    if isinstance(given, str):
        module, _, name = given.partition(":")
        given = getattr(import_module(module), name)
    app: Celery = given
    return app


def queue_of(app: Celery, config: KoalaConfig, shard: int) -> Queue:
    """The site's own definition of the queue where it has one (`task_queues`), else ours."""
    name = f"{config.queue}.{shard}"
    queues: dict[str, Queue] = app.amqp.queues
    return dict.get(queues, name) or Queue(name, routing_key=name, queue_arguments=_ONE_CONSUMER)


def add_task(app: Celery, config: KoalaConfig | None = None) -> Relay:
    """Teaches the site's workers to deliver. Beside the app, where workers and web processes both see it.

    A worker that is started for our queues (`-Q koala.0,koala.1`) takes one message at a time: that is what
    keeps a person's order.

    Args:
        config: Endpoint, timeouts, where refused entries are kept; from the environment when None.
    Returns:
        What delivers in this process, to ask for its numbers.
    Raises:
        KoalaConfigError: a setting is missing or malformed.
    """
    config = config or KoalaConfig.load({})
    relay = Relay(config)

    def prepare(instance: Any, options: dict[str, Any], **_signal: Any) -> None:
        if instance.app is app:
            _prepare_worker(app, config, options)

    def deliver(public_api_key: str, body: str) -> str:
        return _deliver(relay, public_api_key, body)

    def limit(sender: Any, **_signal: Any) -> None:
        if sender.app is app and app.amqp.queues.consume_from.keys() & _queues(config).keys():
            # Not by the configuration: Celery's command line has read that already, and says four.
            sender.prefetch_multiplier = 1

    signals.celeryd_init.connect(prepare, weak=False)
    signals.worker_init.connect(limit, weak=False)
    app.task(
        name=TASK,
        shared=False,  # other apps of this process have not asked for it
        ignore_result=True,
        acks_late=True,
        reject_on_worker_lost=True,
        acks_on_failure_or_timeout=False,
        soft_time_limit=int(PATIENCE + _GRACE),
        time_limit=int(PATIENCE + 2 * _GRACE),
    )(deliver)
    return relay


def _queues(config: KoalaConfig) -> dict[str, int]:
    return {f"{config.queue}.{shard}": shard for shard in range(config.shards)}


def _deliver(relay: Relay, public_api_key: str, body: str) -> str:
    """Waits in place while the endpoint is away: a task put behind the others would lose its turn.

    Returns:
        What became of it, for the worker's log: numbers only.
    """
    before = relay.stats().get(public_api_key, DeliveryStats())
    try:
        relay.take(public_api_key, body)
        settled = relay.settled(PATIENCE)
    except SoftTimeLimitExceeded:
        settled = False
    except Exception as error:  # noqa: BLE001  (a bug of ours must not lose a message: a failed task's is gone)
        _notices.error("a task failed; its message is given back", error)
        time.sleep(1.0)
        settled = False
    if not settled:
        relay.hand_back()
        raise Reject("the endpoint takes nothing now", requeue=True)
    after = relay.stats().get(public_api_key, before)
    return f"{after.delivered - before.delivered} delivered, {after.refused - before.refused} refused"


def _prepare_worker(app: Celery, config: KoalaConfig, options: dict[str, Any]) -> None:
    """A worker begins: if it is there for our queues, they are declared as ours are, and it runs one task at a
    time."""
    asked = options.get("queues") or ()
    names = asked.split(",") if isinstance(asked, str) else list(asked)
    ours = _queues(config)
    if not ours.keys() & set(names):
        return
    for name in ours.keys() & set(names):
        app.amqp.queues.add(queue_of(app, config, ours[name]))
    if options.get("concurrency") in {None, 0}:
        app.conf.worker_concurrency = 1
    elif options["concurrency"] != 1:
        logger.warning(
            "Koala: a worker for %s.* runs %s tasks at a time, so one person's batches can overtake each "
            "other; start it with --concurrency 1, or without, and one worker for each queue.",
            config.queue,
            options["concurrency"],
        )
