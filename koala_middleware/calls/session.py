"""A context without a request: what scripts, webhooks and jobs open, for one person or one company.

Takes what is said within the block and hands it over at its end. Must not know queues, nor how it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from typing import Generic, Protocol, Self, TypeVar

from koala_middleware.calls.context import AccountContext, KoalaContext, Owner, current
from koala_middleware.identity.consent import Consent
from koala_middleware.protocol.subjects import Person

Spoken = TypeVar("Spoken", KoalaContext, AccountContext)

_NOBODY = "consent() in a job cannot bring back a visitor who allowed nothing; its entries stay dropped"


class Receiver(Owner, Protocol):
    """Who takes what was said: the client. `waits`: whether taking it waits for the network."""

    @property
    def waits(self) -> bool: ...
    def hand_over(self, context: KoalaContext, consent: Consent = "full") -> None: ...


class Session(Generic[Spoken]):
    """`with client.person(…) as koala:` and `async with client.person(…) as koala:` mean the same.

    What was said is handed over when the block ends, also after an exception. Comes from a client.

    Attributes:
        consent_given: How far what is said may go; the person's own word, where a job brings it along.
    """

    __slots__ = ("_known", "_receiver", "_token", "consent_given", "context")

    def __init__(
        self, receiver: Receiver, person: Person | None, *, consent: Consent = "full", enabled: bool = True
    ) -> None:
        self._receiver = receiver
        self._known = person is not None
        self._token: Token[KoalaContext] | None = None
        self.consent_given = consent
        self.context = KoalaContext(self, person or Person(), enabled=enabled)

    def hand_over(self, context: KoalaContext) -> None:
        self._receiver.hand_over(context, self.consent_given)

    def consent_changed(self, level: Consent) -> Self:
        if self._known:
            self.consent_given = level
        else:
            self.notice(_NOBODY)
        return self

    def notice(self, reason: str) -> None:
        self._receiver.notice(reason)

    def when_committed(self, then: Callable[[], None]) -> None:
        self._receiver.when_committed(then)

    def event_fault(self, fault: str, *, counted: bool = True) -> None:
        self._receiver.event_fault(fault, counted=counted)

    def begin(self) -> Spoken:
        raise NotImplementedError

    def end(self) -> None:
        """What `begin` set is as before. The person's calls are still held."""

    def leave(self) -> None:
        """The block is over: what was said is handed over, and what is still said, by a thread say, goes at once."""
        self.end()
        self.hand_over(self.context)
        # Without full consent the session stays to judge it; else the two would hold each other.
        self.context.outlives(self._receiver if self.consent_given == "full" else self)
        if self.context.calls:  # of a thread that spoke since they were taken, and knew of no end yet
            self.hand_over(self.context)

    def __enter__(self) -> Spoken:
        return self.begin()

    def __exit__(self, *_exception: object) -> None:
        self.leave()

    async def __aenter__(self) -> Spoken:
        return self.begin()

    async def __aexit__(self, *_exception: object) -> None:
        if not self._receiver.waits:
            self.leave()
            return
        from starlette.concurrency import run_in_threadpool  # noqa: PLC0415  (for delivery="inline" alone)

        self.end()  # here: the thread has a context of its own
        await run_in_threadpool(self.leave)


class PersonSession(Session[KoalaContext]):
    """One person's block; `koala` is their context within."""

    __slots__ = ()

    def begin(self) -> KoalaContext:
        self._token = current.set(self.context)
        return self.context

    def end(self) -> None:
        if self._token is None:
            return
        try:
            current.reset(self._token)
        except ValueError:
            pass  # ended by another task or thread than began it: that one's `koala` is not ours to change
        finally:
            self._token = None


class AccountSession(Session[AccountContext]):
    """One company's block."""

    __slots__ = ("_account",)

    def __init__(
        self, receiver: Receiver, domain: str | None, account_id: str | None, *, enabled: bool = True
    ) -> None:
        super().__init__(receiver, Person(), enabled=enabled)
        self._account = self.context.account(domain, account_id)

    def begin(self) -> AccountContext:
        return self._account
