"""Hands batches to a Celery app of the site as tasks, over whatever broker the app has.

There is one task, `koala_middleware.deliver`, and a fixed number of queues; all batches of one person are in the same
queue. Imports Celery.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from celery import Celery
from kombu import Producer, Queue

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.broker_answers import ACCEPTED, failure_of
from koala_middleware.delivery.transports.broker_message import Message
from koala_middleware.delivery.transports.untraced import untraced
from koala_middleware.protocol.batches import Batch

if TYPE_CHECKING:
    from kombu import Connection

TASK = "koala_middleware.deliver"
_SINGLE_CONSUMER = {"x-single-active-consumer": True}  # RabbitMQ: other consumers stand by; ignored elsewhere


class CeleryTransport:
    """One connection to the app's broker, for one thread at a time. Accepted means that the broker confirmed it."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def send(self, batch: Batch, timeout: float) -> Answer:
        """Sends one task. Waits up to `timeout` seconds to connect, and again for the broker to confirm."""
        sent = False
        try:
            with untraced():
                app = app_of(self._config)
                producer = self._producer or self._connected(app, timeout)
                sent = True
                self._publish(app, producer, Message.of(batch, self._config), timeout)
        except Exception as error:  # noqa: BLE001  (each broker's client has its own; the batch is kept)
            self._abandon()
            return Answer(None, failure_of(error, sent=sent))
        return ACCEPTED

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
            # Named in full, so that no catch-all route of the site applies.
            queue=queue,  # type: ignore[arg-type]  # (celery-types knows names only)
            exchange="",
            routing_key=queue.name,
            mandatory=True,  # else a broker that has lost the queue confirms the task and drops it
            retry=False,
            timeout=timeout,
            confirm_timeout=timeout,
            ignore_result=True,
            add_to_parent=False,
            argsrepr="(one batch)",  # what logs and monitors show: no personal data
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

    def _abandon(self) -> None:
        """Closes without a handshake, which would wait for a broker that may be gone."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.collect(socket_timeout=0.1)


def app_of(config: KoalaConfig) -> Celery:
    """Returns the Celery app of the settings. Imported when first used, since it may itself import the site."""
    given = config.celery_app
    if isinstance(given, str):
        module, _, name = given.partition(":")
        given = getattr(import_module(module), name)
    app: Celery = given
    return app


def queue_of(app: Celery, config: KoalaConfig, shard: int) -> Queue:
    """Returns the site's own definition of the queue (`task_queues`) where it has one, else ours."""
    name = f"{config.queue}.{shard}"
    queues: dict[str, Queue] = app.amqp.queues
    return dict.get(queues, name) or Queue(name, routing_key=name, queue_arguments=_SINGLE_CONSUMER)
