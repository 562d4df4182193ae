"""Both ends of a queue: writes the current person's ticket, and runs a job under the ticket it brought.

Knows no queue. The job comes first: no ticket, however broken, and no endpoint can keep it from running.
"""

from __future__ import annotations

from koala_middleware.calls.current import current
from koala_middleware.calls.session import PersonSession
from koala_middleware.client import KoalaClient
from koala_middleware.jobs.ticket import BadTicketError, Ticket, Tickets
from koala_middleware.protocol.subjects import Person

KEY = "koala_ticket"  # the name of the ticket in a message's headers or meta

_OUT = frozenset({"outage", "held"})


class Carrier:
    """What each queue's module holds one of.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """

    def __init__(self, client: KoalaClient) -> None:
        self.client = client
        self._tickets = Tickets(client.config) if client.config.enabled else None

    def ticket(self) -> str | None:
        """The current person's, for a job about to be enqueued; None where there is nobody. Never raises."""
        context = current.get(None)
        if context is None or self._tickets is None:
            return None
        try:
            context._used = True  # the id travels on: the response should carry its cookie
            return self._tickets.written(Ticket.of(context._person, context.consent_given))
        except BadTicketError as reason:
            self.client._pipeline.log.warning(
                f"a job goes without its visitor: the ticket cannot be written, {reason}"
            )
        except Exception as error:  # noqa: BLE001  (the edge: enqueueing must not fail for us)
            self.client._pipeline.log.warning(
                "a job goes without its visitor: its ticket failed", error=error
            )
        return None

    def run(self, ticket: object) -> JobRun:
        """The run of one job; `ticket` as the message brought it, None for none."""
        return JobRun(self.client, self._session(ticket))

    def _session(self, ticket: object) -> PersonSession | None:
        if ticket is None or self._tickets is None:
            return None
        try:
            read = self._tickets.read(ticket)
        except BadTicketError as reason:
            self.client._pipeline.log.warning(
                f"a job's ticket is ignored and the job runs without its visitor: {reason}"
            )
            return None
        return PersonSession(self.client._pipeline, read.person or Person(), read.consent)


class JobRun:
    """`begin()` before the job, `end()` after it, in the same thread; or as a `with` block. Never raises.

    A job that is run at once, within the request that asked for it, stays in that request's context.
    """

    __slots__ = ("_client", "_nested", "_session")

    def __init__(self, client: KoalaClient, session: PersonSession | None) -> None:
        self._client = client
        self._session = session
        self._nested = current.get(None) is not None

    def begin(self) -> None:
        if self._session is not None and not self._nested:
            self._session._open()

    def leave(self) -> None:
        """Hand over what was said, without waiting for its delivery."""
        if self._session is not None and not self._nested:
            self._session._close()

    def deliver(self, timeout: float | None = None, *, last: bool = False) -> None:
        """Wait until what was said is out, `shutdown_timeout` at most: the worker may end without a word.

        Args:
            timeout: Seconds that are left for it, where it is less.
            last: The process ends now; what is still there is counted as lost, or kept on disk.
        """
        if self._nested or (not last and self._in_vain()):
            return
        seconds = self._client.config.shutdown_timeout
        if timeout is not None:
            seconds = max(min(seconds, timeout), 0.0)
        try:
            (self._client.close if last else self._client.flush)(seconds)
        except Exception as error:  # noqa: BLE001  (the edge: the job has done its work)
            self._client._pipeline.log.warning("what a job said could not be flushed", error=error)

    def _in_vain(self) -> bool:
        """The endpoint is known to take nothing now: no job waits for it, a thread tries on."""
        return self._client.health().state in _OUT

    def end(self) -> None:
        self.leave()
        self.deliver()

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_exception: object) -> None:
        self.end()
