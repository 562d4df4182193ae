"""A context outside requests: what scripts, webhooks and jobs open, for one person or one company.

Hands over what was recorded when its block ends. Must not know queues or how entries are sent.
"""

from __future__ import annotations

from contextvars import Token
from typing import Generic, NoReturn, TypeVar

from koala_middleware.calls.context import AccountContext, KoalaContext, Sink
from koala_middleware.calls.current import current
from koala_middleware.identity.consent import Consent
from koala_middleware.protocol.subjects import Person

ContextT = TypeVar("ContextT", KoalaContext, AccountContext)


class Session(Generic[ContextT]):
    """`with client.person(…) as koala:`, or `async with`. Comes from a client.

    Hands over what was recorded when the block ends, also after an exception.
    """

    __slots__ = ("_context", "_sink")

    def __init__(self, sink: Sink, person: Person, consent: Consent = "full") -> None:
        self._sink = sink
        self._context = KoalaContext(sink, sink, person, consent=consent)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"{name} belongs to a block: write `with client.person(…) as koala: koala.{name}(…)`"
        )

    def _open(self) -> ContextT:
        raise NotImplementedError

    def _restore(self) -> None:
        """Undo what `_open` did; what was recorded is still here."""

    def _close(self) -> None:
        """The block is over: hand over. Later calls, from a thread for instance, are handed over at once."""
        self._restore()
        self._sink.hand_over(self._context)
        self._context._end(self._sink)
        if self._context._calls:  # recorded meanwhile by a thread that did not know of the end
            self._sink.hand_over(self._context)

    def __enter__(self) -> ContextT:
        return self._open()

    def __exit__(self, *_exception: object) -> None:
        self._close()

    async def __aenter__(self) -> ContextT:
        return self._open()

    async def __aexit__(self, *_exception: object) -> None:
        if not self._sink.blocks:
            self._close()
            return
        from starlette.concurrency import run_in_threadpool  # noqa: PLC0415  (only for delivery="inline")

        self._restore()  # here, since the thread has contextvars of its own
        await run_in_threadpool(self._close)


class PersonSession(Session[KoalaContext]):
    """One person's block; `koala` is their context within."""

    __slots__ = ("_token",)

    def __init__(self, sink: Sink, person: Person, consent: Consent = "full") -> None:
        super().__init__(sink, person, consent)
        self._token: Token[KoalaContext] | None = None

    def _open(self) -> KoalaContext:
        self._token = current.set(self._context)
        return self._context

    def _restore(self) -> None:
        if self._token is None:
            return
        try:
            current.reset(self._token)
        except ValueError:
            pass  # closed by another task or thread than opened it, whose `koala` is not ours to change
        finally:
            self._token = None


class AccountSession(Session[AccountContext]):
    """One company's block."""

    __slots__ = ("_account",)

    def __init__(self, sink: Sink, domain: str | None, account_id: str | None) -> None:
        super().__init__(sink, Person())
        self._account = self._context.account(domain, account_id)

    def _open(self) -> AccountContext:
        return self._account
