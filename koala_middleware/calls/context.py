"""KoalaContext: what a handler holds. Records what the handler calls, with its time and its person.

Calls are encoded and sent after the response. Must not know requests, responses, cookies or delivery.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, Self, get_args, overload

from koala_middleware.calls.catalog import EventObject, catalog, check_event, read_event
from koala_middleware.calls.validation import (
    account_ids,
    check_account,
    check_event_name,
    check_group,
    check_mapping,
    check_text,
    copied,
    nanoseconds,
    raise_type_error,
    valid_email,
)
from koala_middleware.identity.consent import Consent, consent_level
from koala_middleware.identity.cookie import mint_profile_id
from koala_middleware.log_once import LogOnce
from koala_middleware.payload.drafts import Call
from koala_middleware.protocol.batches import EntryKind
from koala_middleware.protocol.subjects import Account, Person

Traits = Mapping[str, Any]
Properties = Mapping[str, Any]

_UNKNOWN_PERSON = (
    "consent() in a job cannot bring back a visitor who allowed nothing; its entries stay dropped"
)


class Recipient(Protocol):
    """Takes a context's calls: its exchange or block while that lasts, then the client's pipeline."""

    def hand_over(self, context: KoalaContext) -> None: ...


class Sink(Recipient, Protocol):
    """The client's pipeline, as contexts use it.

    Attributes:
        log: Logs a text once.
        enabled: False where settings turn Koala off.
        blocks: Whether `hand_over` waits for the network (`delivery="inline"`).
    """

    log: LogOnce
    enabled: bool
    blocks: bool

    def event_fault(self, fault: str, *, counted: bool = True) -> None: ...
    def when_committed(self, action: Callable[[], None]) -> None: ...


class KoalaContext:
    """One visitor, during one request or in a script.

    Attributes:
        is_new: Whether the visitor's id was minted here: the request brought no well-formed ko_id.
        cookie_set: Whether this response carried the cookie. Known once the response has begun.
        was_reset: Whether the handler called reset().
    """

    __slots__ = (
        "_calls",
        "_consent",
        "_ended",
        "_id_read",
        "_known_person",
        "_profile_id",
        "_recipient",
        "_sink",
        "_used",
        "_user",
        "cookie_set",
        "is_new",
        "was_reset",
    )

    def __init__(
        self,
        sink: Sink,
        recipient: Recipient,
        person: Person | None = None,
        profile_id: str | None = None,
        is_new: bool = False,
        *,
        consent: Consent = "full",
    ) -> None:
        self._sink = sink
        self._recipient = recipient
        self._known_person = person
        self._profile_id = profile_id
        self._consent: Consent = consent
        self._calls: deque[Call] = deque()  # its append and popleft are atomic
        self._used = False  # by the handler, which lets the response to a fetch carry the cookie
        self._id_read = False  # by the handler, perhaps into the page: nobody else may get that response
        self._user: object = None  # the signed-in user, where a framework tells
        self._ended = False  # from then on, calls are handed over at once
        self.is_new = is_new
        self.cookie_set = False
        self.was_reset = False

    @property
    def enabled(self) -> bool:
        """False where settings turn Koala off; every call is then accepted and ignored."""
        return self._sink.enabled

    @property
    def profile_id(self) -> str | None:
        """The anonymous visitor behind this browser: the ko_id cookie's value, or the id just minted.

        None only in a script that knows its person by email alone. Reading it makes the response private, unless
        the app says how it may be cached, and lets the response to a fetch carry the cookie.
        """
        self._used = self._id_read = True
        return self._person.profile_id

    @property
    def email(self) -> str | None:
        """The visitor's email, if this request has identified them."""
        return self._person.email

    @property
    def consent_given(self) -> Consent:
        """What the visitor allows: `"full"`, `"anonymous"` or `"none"`."""
        return self._consent

    @overload
    def identify(self, email: str | None = None, traits: Traits | None = None) -> None: ...
    @overload
    def identify(self, email: Traits) -> None: ...
    def identify(self, email: str | Traits | None = None, traits: Traits | None = None) -> None:
        """Record who the visitor is, and what is known of them.

        `identify("ada@example.com", {"name": "Ada"})`, or traits alone: `identify({"plan": "pro"})`. A
        second, different email begins a new person; earlier calls stay with the first.

        A company goes with the person as `{"$account": {"domain": "example.com", "plan": "pro"}}`.

        Raises:
            TypeError: email is not a str, or traits or their $account are not a mapping.
            ValueError: $account names two different group ids.
        """
        if isinstance(email, Mapping):
            if traits is not None:
                raise_type_error("identify", "email", "a str or None", email)
            email, traits = None, email
        check_text("identify", "email", email)
        check_mapping("identify", "traits", traits)
        check_account(traits)
        if email is None and not traits:
            self._sink.log.warning("identify() was given neither an email nor traits; nothing is recorded")
        data = copied(traits)
        email = valid_email("identify", email or data.get("email"), self._sink.log.warning)
        if email is not None:
            self._become(email)
            data["email"] = email
        else:
            data.pop("email", None)
        if data:
            self._record_now("identify", None, data)

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
        """Record that something happened: `track("Created Account", {"plan": "pro"})`.

        Or an event of the catalog: `track(CreatedAccount(plan="pro"))`, see `koala_event`.

        Args:
            message_id: Your own idempotency key; a second event with the same one is counted once.
            sent_at: When it happened, with a time zone; now when None.
            context: Added to the request's own context (page, user agent, …).
            on_commit: Django only: record it when the database transaction (`atomic()`) is committed, and never
                if it is rolled back; at once where none is open.
        Raises:
            TypeError: an argument has the wrong type.
            ValueError: event is empty, sent_at has no time zone, or on_commit is used outside Django;
                with strict_events, the event differs from its declaration.
        """
        name, properties = _event(event, properties, self._sink)
        check_text("track", "message_id", message_id)
        check_mapping("track", "context", context)
        at = time.time_ns() if sent_at is None else nanoseconds(sent_at)
        extra = copied(context) if context else None
        call = Call(self._person, "track", name, copied(properties), at, message_id, extra)
        self._used = True
        if on_commit:
            self._sink.when_committed(lambda: self._record(call))
        else:
            self._record(call)

    def page(self, name: str | None = None, properties: Properties | None = None) -> None:
        """Record a view of this page. Path, url, referrer and utm come from the request.

        Args:
            name: The page's title; properties are added to the page's own.
        """
        check_text("page", "name", name)
        check_mapping("page", "properties", properties)
        self._record_now("page", name, copied(properties))

    def account(self, domain: str | None = None, account_id: str | None = None) -> AccountContext:
        """The company for the next calls: `koala.account(domain="example.com").track("Invoice Paid")`.

        Raises:
            ValueError: neither domain nor account_id is given.
        """
        for name, value in (("domain", domain), ("account_id", account_id)):
            check_text("account", name, value)
        account = Account(*account_ids(domain, account_id, self._sink.log.warning))
        if account == Account():
            raise ValueError('account() needs domain or account_id, such as account(domain="example.com")')
        return AccountContext(self, account)

    def reset(self) -> None:
        """Forget who this is, at log-out: a new anonymous visitor with a new id and, in a request, cookie."""
        self._used = True
        self.is_new = True
        self.was_reset = True
        self._known_person = Person(mint_profile_id())

    def consent(self, level: Consent | bool) -> None:
        """Record what the visitor now allows: `"full"`, `"anonymous"` or `"none"` (or True, False).

        Takes effect in this request: "full" releases calls that were held back, "none" withdraws earlier ones.
        """
        if not isinstance(level, bool) and level not in get_args(Consent):
            raise ValueError(f'consent() takes "full", "anonymous" or "none", not {level!r}')
        self._used = True
        if self._person == Person():
            self._sink.log.warning(_UNKNOWN_PERSON)
        else:
            self._consent = consent_level(level)

    def flush(self) -> None:
        """Hand over earlier calls before the response has ended. For long connections."""
        self._recipient.hand_over(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Apps copy what holds a request: `copy.deepcopy(scope)`. The visitor stays one and the same."""
        return self

    def __reduce__(self) -> tuple[Callable[[], KoalaContext], tuple[()]]:
        """Unpickled, it is empty and ignores calls: no settings and no personal data leave the process."""
        return _inert_context, ()

    @property
    def _person(self) -> Person:
        """The subject of the next call."""
        # Made when first needed, since most requests record nothing: saves 0.4 µs, a tenth of their exchange.
        if self._known_person is None:
            self._known_person = Person(self._profile_id)
        return self._known_person

    def _become(self, email: str) -> None:
        if self._person.email is None or self._person.email.lower() != email.lower():
            self._known_person = Person(self._person.profile_id, email)

    def _record_now(self, kind: EntryKind, name: str | None, data: Any) -> None:
        self._used = True
        self._record(Call(self._person, kind, name, data, time.time_ns()))

    def _record(self, call: Call) -> None:
        if not self._sink.enabled:
            return
        self._calls.append(call)
        if self._ended:
            self._recipient.hand_over(self)

    def _take(self) -> list[Call]:
        """Remove and return all calls, oldest first. Each goes to one thread only, however many take at once."""
        taken: list[Call] = []
        try:
            while self._calls:
                taken.append(self._calls.popleft())
        except IndexError:
            return taken  # another thread took the last one
        return taken

    def _end(self, recipient: Recipient, person: Person | None = None) -> None:
        """The exchange or block is over. Later calls, from a background task or a thread, leave at once.

        Args:
            person: The subject of later calls, if it changes.
        """
        self._known_person = person or self._known_person
        self._recipient = recipient
        self._ended = True


def _inert_context() -> KoalaContext:
    return KoalaContext(_InertSink(), _InertSink())


class _InertSink:
    """Takes nothing: the sink of an unpickled context."""

    log = LogOnce(silent=True)
    enabled = False
    blocks = False

    def hand_over(self, context: KoalaContext) -> None: ...
    def event_fault(self, fault: str, *, counted: bool = True) -> None: ...
    def when_committed(self, action: Callable[[], None]) -> None: ...


class AccountContext:
    """A company. Comes from `koala.account(…)`."""

    __slots__ = ("_account", "_context")

    def __init__(self, context: KoalaContext, account: Account) -> None:
        self._context = context
        self._account = account

    def identify(self, traits: Traits | None = None, *, group_id: str | None = None) -> None:
        """Record what is known of the company. `group_id` separates several workspaces under one domain.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: traits name another group id.
        """
        check_mapping("identify", "traits", traits)
        check_text("identify", "group_id", group_id)
        data = copied(traits)
        check_group(data, group_id)
        if group_id is not None:
            data["group_id"] = group_id
        self._context._record(Call(self._account, "identify", None, data, time.time_ns()))

    def track(
        self,
        event: str | EventObject,
        properties: Properties | None = None,
        *,
        message_id: str | None = None,
        sent_at: datetime | None = None,
    ) -> None:
        """Record what happened at the company, whoever did it. Arguments as for a person's `track`."""
        name, properties = _event(event, properties, self._context._sink)
        check_text("track", "message_id", message_id)
        at = time.time_ns() if sent_at is None else nanoseconds(sent_at)
        self._context._record(Call(self._account, "track", name, copied(properties), at, message_id))


def _event(event: object, properties: Any, sink: Sink) -> tuple[str, Properties | None]:
    """An event's name and properties, given by name or as an instance of its class."""
    if not isinstance(event, str):
        return read_event(event, properties, sink.event_fault)
    check_event_name(event)
    check_mapping("track", "properties", properties)
    if catalog:
        check_event(event, properties, sink.event_fault)
    return event, properties
