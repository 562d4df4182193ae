"""Dramatiq: `carry(broker, client)` where the broker is made, for the web processes and the workers.

The ticket is one of the message's options, which retries and delays keep.
"""

from __future__ import annotations

from typing import Any

from dramatiq import Broker, Message, MessageProxy, Middleware, Worker

from koala_middleware.client import KoalaClient
from koala_middleware.jobs.propagation import KEY, Carrier, JobRun


def carry(broker: Broker, client: KoalaClient) -> None:
    """Let every message of this broker know who caused it: `koala.track(…)` in an actor is theirs.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """
    # First in, and so last out: the next message of a pipeline is enqueued while the person is still known.
    first = type(broker.middleware[0]) if broker.middleware else None
    broker.add_middleware(KoalaJobs(client), before=first)


class KoalaJobs(Middleware):
    """For brokers made with their own list of middleware: give it the first place."""

    def __init__(self, client: KoalaClient) -> None:
        self._carrier = Carrier(client)
        self._running: dict[str, JobRun] = {}

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int) -> None:  # noqa: ARG002  (Dramatiq's signature)
        if (ticket := self._carrier.ticket()) is not None:
            message.options[KEY] = ticket

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        run = self._running[message.message_id] = self._carrier.run(message.options.get(KEY))
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
        self._carrier.client.close()

    def _end(self, message: MessageProxy) -> None:
        if (run := self._running.pop(message.message_id, None)) is not None:
            run.end()
