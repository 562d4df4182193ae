"""Dramatiq: call `propagate_visitors(broker, client)` where the broker is made, in web processes and workers.

The ticket is one of the message's options, which retries and delays keep.
"""

from __future__ import annotations

from typing import Any

from dramatiq import Broker, Message, MessageProxy, Middleware, Worker

from koala_middleware.client import KoalaClient
from koala_middleware.jobs.propagation import KEY, JobRun, VisitorPropagator


def propagate_visitors(broker: Broker, client: KoalaClient) -> None:
    """Make `koala.track(…)` in an actor belong to the visitor who caused it.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """
    # First, and so the last to end: a pipeline enqueues its next message while the visitor is still known.
    first = type(broker.middleware[0]) if broker.middleware else None
    broker.add_middleware(KoalaJobs(client), before=first)


class KoalaJobs(Middleware):
    """For brokers that are made with a list of middleware: put it first."""

    def __init__(self, client: KoalaClient) -> None:
        self._propagator = VisitorPropagator(client)
        self._running: dict[str, JobRun] = {}

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int) -> None:  # noqa: ARG002  (Dramatiq's signature)
        if (ticket := self._propagator.ticket()) is not None:
            message.options[KEY] = ticket

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        run = self._running[message.message_id] = self._propagator.run(message.options.get(KEY))
        run.begin()

    def after_process_message(
        self,
        broker: Broker,  # noqa: ARG002
        message: MessageProxy,
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,  # noqa: ARG002
    ) -> None:
        self._end(message)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        self._end(message)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        self._propagator.client.close()

    def _end(self, message: MessageProxy) -> None:
        if (run := self._running.pop(message.message_id, None)) is not None:
            run.end()
