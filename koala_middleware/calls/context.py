"""KoalaContext: what a handler holds. It takes down what the handler says, one person at a time.

Calls are only noted here, with the time and the person they belong to; encoding and sending come after the
response. Must not know requests, responses, cookies' transport or delivery.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol, get_args, overload

from koala_middleware.calls.catalogue import EventObject, catalogue, check_named, spoken
from koala_middleware.calls.validation import (
    accepted_email,
    as_said,
    check_account,
    check_event_name,
    check_group,
    check_mapping,
    check_text,
    nanoseconds,
    refuse,
)
from koala_middleware.identity.consent import Consent, consent_level
from koala_middleware.identity.cookie import mint_profile_id
from koala_middleware.payload.drafts import Call
from koala_middleware.protocol.batches import EntryKind
from koala_middleware.protocol.subjects import Account, Person

Traits = Mapping[str, Any]
Properties = Mapping[str, Any]


current: ContextVar[KoalaContext] = ContextVar("koala")


class Owner(Protocol):
    """Who opened a context, and takes from it what was said: an exchange, or a script's session."""

    def hand_over(self, context: KoalaContext) -> None: ...
    @property
    def consent_given(self) -> Consent: ...
    def consent_changed(self, level: Consent) -> Owner:
        """Whose the context is from now on; mostly still this one's."""
        ...

    def notice(self, reason: str) -> None: ...
    def event_fault(self, fault: str, *, counted: bool = True) -> None: ...
    def when_committed(self, then: Callable[[], None]) -> None: ...


class KoalaContext:
    """One visitor's context during one request, or in a script.

    Attributes:
        calls: What was said and not yet taken; not for handlers.
        enabled: False where settings turn Koala off; every call is then accepted and forgotten.
        owner: Who takes what is said; not for handlers.
        is_new: Whether the visitor's id was minted here: no well-formed ko_id came with the request.
        cookie_set: Whether this response carried the cookie. Known once the response has begun.
        touched: Whether the handler used this context, which lets the answer to a fetch carry the cookie.
        was_reset: Whether the handler called reset().
    """

    __slots__ = (
        "_at_once",
        "_person",
        "_profile_id",
        "calls",
        "cookie_set",
        "enabled",
        "is_new",
        "owner",
        "touched",
        "was_reset",
    )

    def __init__(
        self,
        owner: Owner,
        person: Person | None = None,
        profile_id: str | None = None,
        is_new: bool = False,
        enabled: bool = True,
    ) -> None:
        self.owner = owner
        self._person = person
        self._profile_id = profile_id
        self.calls: list[Call] = []  # a deque has room for 64, 600 bytes, before the first call
        self._at_once = False
        self.enabled = enabled
        self.is_new = is_new
        self.cookie_set = False
        self.touched = False
        self.was_reset = False

    @property
    def person(self) -> Person:
        """Whom the next call is about."""
        # Made when asked for, since most requests say nothing: worth 0.4 µs, a tenth of their exchange.
        if self._person is None:
            self._person = Person(self._profile_id)
        return self._person

    @property
    def profile_id(self) -> str | None:
        """The anonymous visitor behind this browser: the ko_id cookie's value, or the id just minted.

        None only in a script that knows its person by email alone. Asking counts as use, which lets the
        answer to a fetch carry the cookie.
        """
        self.touched = True
        return self.person.profile_id

    @property
    def email(self) -> str | None:
        """Who the visitor is, if this request has said so."""
        return self.person.email

    @property
    def consent_given(self) -> Consent:
        """How far the visitor allows what is said to go."""
        return self.owner.consent_given

    @overload
    def identify(self, email: str | None = None, traits: Traits | None = None) -> None: ...
    @overload
    def identify(self, email: Traits) -> None: ...
    def identify(self, email: str | Traits | None = None, traits: Traits | None = None) -> None:
        """Say who the visitor is, and what is known of them.

        `identify("ada@example.com", {"name": "Ada"})`, or traits alone: `identify({"plan": "pro"})`. A
        second, different email begins a new person; what was said before stays with the first.

        A company goes with the person as `{"$account": {"domain": "example.com", "plan": "pro"}}`.

        Raises:
            TypeError: email is no text, or traits or their $account are no mapping.
            ValueError: $account names two different group ids.
        """
        if isinstance(email, Mapping):
            if traits is not None:
                refuse("identify", "email", "a str or None", email)
            email, traits = None, email
        check_text("identify", "email", email)
        check_mapping("identify", "traits", traits)
        check_account(traits)
        noted = as_said(traits)
        email = accepted_email("identify", email or noted.get("email"), self.owner.notice)
        if email is not None:
            self._become(email)
            noted["email"] = email
        else:
            noted.pop("email", None)
        if noted:
            self._note("identify", None, noted)

    @overload
    def track(
        self,
        event: str,
        properties: Properties | None = None,
        *,
        message_id: str | None = None,
        sent_at: datetime | None = None,
        context: Mapping[str, Any] | None = None,
        on_commit: bool = False,
    ) -> None: ...
    @overload
    def track(
        self,
        event: EventObject,
        *,
        message_id: str | None = None,
        sent_at: datetime | None = None,
        context: Mapping[str, Any] | None = None,
        on_commit: bool = False,
    ) -> None: ...
    def track(
        self,
        event: str | EventObject,
        properties: Properties | None = None,
        *,
        message_id: str | None = None,
        sent_at: datetime | None = None,
        context: Mapping[str, Any] | None = None,
        on_commit: bool = False,
    ) -> None:
        """Say that something happened: `track("Created Account", {"plan": "pro"})`.

        Or an event of the catalogue: `track(CreatedAccount(plan="pro"))`, see `koala_event`.

        Args:
            message_id: Your own idempotency key; a second event with the same one is counted once.
            sent_at: When it happened, with a time zone; now when None.
            context: Added to what the request itself tells (page, user agent, …).
            on_commit: Django only: say it when the database's transaction (`atomic()`) is committed, and never
                if it is rolled back; at once where none is open.
        Raises:
            TypeError: an argument has the wrong type.
            ValueError: event is empty, sent_at has no time zone, or on_commit is asked for outside Django;
                with strict_events, event is unlike its declaration.
        """
        event, properties = _named(event, properties, self.owner)
        check_text("track", "message_id", message_id)
        check_mapping("track", "context", context)
        at = time.time_ns() if sent_at is None else nanoseconds(sent_at)
        said, around = as_said(properties), as_said(context) if context else None
        call = Call(self.person, "track", event, said, at, message_id, around)
        self.touched = True
        if on_commit:
            self.owner.when_committed(lambda: self.note(call))
        else:
            self.note(call)

    def page(self, name: str | None = None, properties: Properties | None = None) -> None:
        """Say that the visitor sees this page. Path, url, referrer and utm come from the request.

        Args:
            name: The page's title; properties are added to the page's own.
        """
        check_text("page", "name", name)
        check_mapping("page", "properties", properties)
        self._note("page", name, as_said(properties))

    def account(self, domain: str | None = None, account_id: str | None = None) -> AccountContext:
        """The company the next calls are about: `koala.account(domain="example.com").track("Invoice Paid")`.

        Raises:
            ValueError: neither domain nor account_id is given.
        """
        for name, value in (("domain", domain), ("account_id", account_id)):
            check_text("account", name, value)
        if not domain and not account_id:
            raise ValueError('account() needs domain or account_id, such as account(domain="example.com")')
        return AccountContext(self, Account(domain or None, account_id or None))

    def reset(self) -> None:
        """Forget who this is, at log-out: a new anonymous visitor with a new id and, in a request, cookie."""
        self.touched = True
        self.is_new = True
        self.was_reset = True
        self._person = Person(mint_profile_id())

    def consent(self, level: Consent | bool) -> None:
        """What the visitor has just allowed: `"full"`, `"anonymous"` or `"none"` (or True, False).

        Takes effect in this exchange: "full" releases what was held back, "none" withdraws what was said.
        """
        if not isinstance(level, bool) and level not in get_args(Consent):
            raise ValueError(f'consent() takes "full", "anonymous" or "none", not {level!r}')
        self.touched = True
        self.owner = self.owner.consent_changed(consent_level(level))

    def flush(self) -> None:
        """Hand over what was said so far, before the response has ended. For long connections."""
        self.owner.hand_over(self)

    def take(self) -> list[Call]:
        """All calls since the last take, oldest first. Safe beside calls from other threads: none is lost."""
        taken: list[Call] = []
        try:
            while self.calls:
                taken.append(self.calls.pop(0))
        except IndexError:
            return taken  # another thread has taken the last one since we looked
        return taken

    @property
    def has_calls(self) -> bool:
        return bool(self.calls)

    def outlives(self, owner: Owner, person: Person | None = None) -> None:
        """The exchange has ended. What is still said, by a background task or a thread, goes out at once.

        Args:
            person: Whom it is about, where that is another than before.
        """
        self._person = person or self._person
        self.owner = owner
        self._at_once = True

    def _become(self, email: str) -> None:
        if self.person.email is None or self.person.email.lower() != email.lower():
            self._person = Person(self.person.profile_id, email)

    def _note(
        self,
        kind: EntryKind,
        name: str | None,
        data: Any,
    ) -> None:
        self.touched = True
        self.note(Call(self.person, kind, name, data, time.time_ns()))

    def note(self, call: Call) -> None:
        if not self.enabled:
            return
        self.calls.append(call)
        if self._at_once:
            self.owner.hand_over(self)


class AccountContext:
    """A company, as a handler speaks of it. Comes from `koala.account(…)`."""

    __slots__ = ("_account", "_context")

    def __init__(self, context: KoalaContext, account: Account) -> None:
        self._context = context
        self._account = account

    def identify(self, traits: Traits | None = None, *, group_id: str | None = None) -> None:
        """What is known of the company. `group_id` separates several workspaces under one domain.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: traits name another group id.
        """
        check_mapping("identify", "traits", traits)
        check_text("identify", "group_id", group_id)
        noted = as_said(traits)
        check_group(noted, group_id)
        if group_id is not None:
            noted["group_id"] = group_id
        self._context.note(Call(self._account, "identify", None, noted, time.time_ns()))

    def track(
        self,
        event: str | EventObject,
        properties: Properties | None = None,
        *,
        message_id: str | None = None,
        sent_at: datetime | None = None,
    ) -> None:
        """What happened at the company, whoever did it. Arguments as for a person's `track`."""
        event, properties = _named(event, properties, self._context.owner)
        check_text("track", "message_id", message_id)
        at = time.time_ns() if sent_at is None else nanoseconds(sent_at)
        self._context.note(Call(self._account, "track", event, as_said(properties), at, message_id))


class entered:  # noqa: N801  (reads as the block it opens: `with entered(context):`)
    """Within this block, `koala` is this context, also in what it calls; afterwards all is as before."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: KoalaContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = current.set(self._context)

    def __exit__(self, *_: object) -> None:
        current.reset(self._token)


def _named(event: object, properties: Any, owner: Owner) -> tuple[str, Properties | None]:
    """An event's name and properties, whichever way it was said."""
    if not isinstance(event, str):
        return spoken(event, properties, owner.event_fault)
    check_event_name(event)
    check_mapping("track", "properties", properties)
    if catalogue:
        check_named(event, properties, owner.event_fault)
    return event, properties
