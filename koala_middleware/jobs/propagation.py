"""Takes the visitor from the request that enqueues a job to the worker that runs it, as a signed ticket.

Must not know queues. The job comes first: neither a broken ticket nor the endpoint keeps it from running.
"""

from __future__ import annotations

from koala_middleware.calls.current import current
from koala_middleware.calls.session import PersonSession
from koala_middleware.client import KoalaClient
from koala_middleware.jobs.ticket import BadTicketError, Ticket, TicketSigner
from koala_middleware.protocol.subjects import Person

KEY = "koala_ticket"  # of the ticket in a message's headers, meta or arguments

_DOWN = frozenset({"outage", "held"})


class VisitorPropagator:
    """Writes tickets for jobs that are enqueued, and opens contexts for jobs that run.

    Raises:
        KoalaConfigError: the client has no signing_key.
        ImportError: the extra `jobs` is not installed.
    """

    def __init__(self, client: KoalaClient) -> None:
        self.client = client
        self._tickets = TicketSigner(client.config) if client.config.enabled else None

    def ticket(self) -> str | None:
        """A ticket for the current visitor, or None outside requests. Never raises."""
        context = current.get(None)
        if context is None or self._tickets is None:
            return None
        try:
            context._used = True  # the id leaves the request, so its cookie should be set
            return self._tickets.sign(Ticket.for_person(context._person, context.consent_given))
        except Exception as error:  # noqa: BLE001  (the edge: enqueueing must not fail for us)
            self.client._pipeline.log.warning(
                "a job is enqueued without its visitor: writing its ticket failed", error=error
            )
        return None

    def run(self, ticket: object) -> JobRun:
        """The run of one job, with the ticket from its message, if there is one."""
        return JobRun(self.client, self._session(ticket))

    def _session(self, ticket: object) -> PersonSession | None:
        if ticket is None or self._tickets is None:
            return None
        try:
            read = self._tickets.read(ticket)
        except BadTicketError as reason:
            self.client._pipeline.log.warning(
                f"a job runs without its visitor, since its ticket is invalid: {reason}"
            )
            return None
        return PersonSession(self.client._pipeline, read.person or Person(), read.consent)


class JobRun:
    """One run of a job: call `begin()` before and `end()` after it in the same thread, or use `with`. Never raises.

    A job that runs inside the request that enqueued it uses that request's context.
    """

    __slots__ = ("_client", "_nested", "_session")

    def __init__(self, client: KoalaClient, session: PersonSession | None) -> None:
        self._client = client
        self._session = session
        self._nested = current.get(None) is not None

    def begin(self) -> None:
        if self._session is not None and not self._nested:
            self._session._open()

    def hand_over(self) -> None:
        """Hand over what the job recorded, without waiting for its delivery."""
        if self._session is not None and not self._nested:
            self._session._close()

    def deliver(self, timeout: float | None = None, *, last: bool = False) -> None:
        """Wait for the delivery, at most `shutdown_timeout`: the worker may end without running exit handlers.

        Args:
            timeout: Seconds that are left, if that is less.
            last: The process ends now. Entries that still wait are counted as lost, or kept on disk.
        """
        if self._nested or (not last and self._endpoint_is_down()):
            return
        seconds = self._client.config.shutdown_timeout
        if timeout is not None:
            seconds = max(min(seconds, timeout), 0.0)
        try:
            (self._client.close if last else self._client.flush)(seconds)
        except Exception as error:  # noqa: BLE001  (the edge: the job has done its work)
            self._client._pipeline.log.warning("what a job recorded could not be delivered", error=error)

    def _endpoint_is_down(self) -> bool:
        """Whether no job should wait: the delivery thread goes on trying."""
        return self._client.health().state in _DOWN

    def end(self) -> None:
        self.hand_over()
        self.deliver()

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_exception: object) -> None:
        self.end()
