"""The Celery task that delivers batches: it takes them out of the site's queues, in Celery's own workers.

Imports Celery: used only by sites with `transport="celery"`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import Reject, SoftTimeLimitExceeded

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.relay.relay import Relay
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.transports.celery import TASK, queue_of
from koala_middleware.log_once import LogOnce, logger

if TYPE_CHECKING:
    from celery import Celery

WAIT_LIMIT = 600.0  # seconds; RabbitMQ takes a message back after 1800, Redis (kombu) after 3600
_MARGIN = 60.0  # seconds between that and Celery's own time limits
_log_once = LogOnce()


def add_task(app: Celery, config: KoalaConfig | None = None) -> Relay:
    """Registers the task that delivers batches. Call it beside the app, where workers and web processes see it.

    A worker that is started for our queues (`-Q koala.0,koala.1`) takes one message at a time, which keeps the batches
    of one person in order.

    Args:
        config: Endpoint, timeouts, where refused entries are kept; from the environment when None.
    Returns:
        The relay of this process, for its `stats()`.
    Raises:
        KoalaConfigError: a setting is missing or malformed.
    """
    config = config or KoalaConfig.load({})
    relay = Relay(config)

    def prepare(instance: Any, options: dict[str, Any], **_signal: Any) -> None:
        if instance.app is app:
            _prepare_worker(app, config, options)

    def deliver(public_api_key: str, body: str) -> str:
        return _deliver_or_reject(relay, public_api_key, body)

    def limit(sender: Any, **_signal: Any) -> None:
        if sender.app is app and app.amqp.queues.consume_from.keys() & _queues(config).keys():
            # Celery's command line has read the configuration already, and passes its default of four.
            sender.prefetch_multiplier = 1

    signals.celeryd_init.connect(prepare, weak=False)
    signals.worker_init.connect(limit, weak=False)
    app.task(
        name=TASK,
        shared=False,  # not for other apps of this process
        ignore_result=True,
        acks_late=True,
        reject_on_worker_lost=True,
        acks_on_failure_or_timeout=False,
        soft_time_limit=int(WAIT_LIMIT + _MARGIN),
        time_limit=int(WAIT_LIMIT + 2 * _MARGIN),
    )(deliver)
    return relay


def _queues(config: KoalaConfig) -> dict[str, int]:
    return {f"{config.queue}.{shard}": shard for shard in range(config.shards)}


def _deliver_or_reject(relay: Relay, public_api_key: str, body: str) -> str:
    """Delivers one message. Waits while the endpoint is away: a task sent to the queue's end would lose its place.

    Returns:
        The outcome for the worker's log: numbers only.
    """
    before = relay.stats().get(public_api_key, DeliveryStats())
    try:
        relay.accept(public_api_key, body)
        settled = relay.wait_settled(WAIT_LIMIT)
    except SoftTimeLimitExceeded:
        settled = False
    except Exception as error:  # noqa: BLE001  (a failed task's message is gone: a bug of ours must not lose one)
        _log_once.error("a task failed; its message goes back to the queue", error)
        time.sleep(1.0)
        settled = False
    if not settled:
        relay.hand_back()
        raise Reject("the endpoint takes nothing now", requeue=True)
    after = relay.stats().get(public_api_key, before)
    return f"{after.delivered - before.delivered} delivered, {after.refused - before.refused} refused"


def _prepare_worker(app: Celery, config: KoalaConfig, options: dict[str, Any]) -> None:
    """Declares our queues and sets one task at a time, where a worker is started for them."""
    requested = options.get("queues") or ()
    names = requested.split(",") if isinstance(requested, str) else list(requested)
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
