"""KoalaClient: one configuration and its delivery. Opens contexts for scripts, and takes what contexts hold.

Knows no request and no cookie: exchange.py does, and uses a client.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakSet

from koala_middleware.calls.context import KoalaContext, Traits
from koala_middleware.calls.session import AccountSession, PersonSession
from koala_middleware.calls.validation import (
    check_ready,
    check_timeout,
    checked_emails,
    checked_traits,
    refuse_on_commit,
    whom,
)
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery, DeliveryReport, DeliveryStats, Health
from koala_middleware.identity.consent import Consent, permitted
from koala_middleware.identity.cookie import prepare
from koala_middleware.log_once import LogOnce
from koala_middleware.payload.drafts import Draft, group_calls
from koala_middleware.payload.entries import build_batch, context_json
from koala_middleware.payload.message_ids import new_message_id
from koala_middleware.payload.outgoing_filter import BeforeSendError, OutgoingFilter
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.subjects import Person
from koala_middleware.request.signed_in import Users
from koala_middleware.rest.api import QUALIFY_TIMEOUT, Qualification, qualify
from koala_middleware.rest.erasure import TIMEOUT as ERASE_TIMEOUT
from koala_middleware.rest.erasure import ErasureReport, KoalaErasureError, Progress, erase

_living: WeakSet[KoalaClient] = WeakSet()


class KoalaClient:
    """What every middleware holds one of, and scripts make for themselves.

    Args:
        config: A ready configuration, alone; else the settings are read from keywords and the environment.
    Attributes:
        asks_consent: Whether a request has to be asked about before its handler runs.
        amends_known_visitors: Whether a response may need something of us even when its visitor brought
            their cookie.
        durable: Whether handing over makes what was said safe from the death of the process, at once.
        surroundings: What is told about a call that no request surrounds, as a JSON object.
        told_by: What a request tells.
    Raises:
        KoalaConfigError: a setting is missing or malformed.
        TypeError: a keyword is no setting, or would have no effect beside `config`.
    """

    # What delivers: the test kit puts its recorder here.
    delivered_by: ClassVar[type[Delivery]] = Delivery

    def __init__(self, config: KoalaConfig | None = None, **settings: Any) -> None:
        check_ready("config", config, KoalaConfig, settings)
        self.config = config or KoalaConfig.load(settings)
        self.delivery = self.delivered_by(self.config)
        self.notices = LogOnce(silent=not self.config.enabled)
        self.outgoing_filter = OutgoingFilter(self.config)
        self.users = Users(self.config.identify_user)
        self.asks_consent = self.config.enabled and (self.config.honor_gpc or self.config.consent is not None)
        self.durable = self.config.outbox is not None and not self.waits
        self.amends_known_visitors = (
            self.config.cookie_refresh
            or self.config.clear_on_withdrawal
            or bool(self.config.identify_user)
            or self.config.page_views
        )
        # Not with the package: these load an HTTP toolbox. Nor with the first visitor, who would wait for it.
        from koala_middleware.request.entry_context import told_by  # noqa: PLC0415

        self.told_by = told_by
        prepare()
        self.surroundings = context_json()
        new_message_id()
        _living.add(self)

    def person(
        self, *, profile_id: str | None = None, email: str | None = None, traits: Traits | None = None
    ) -> PersonSession:
        """A context without a request, for scripts and webhooks; `koala` is this context within.

        `with client.person(email="ada@example.com") as koala: koala.track("Invoice Paid")`, or `async with`.
        What was said is handed over when the block ends, also after an exception.

        Args:
            traits: What is known of them: the block's first identify.
        Raises:
            TypeError: an argument has the wrong type.
            ValueError: neither profile_id nor an email is given.
        """
        person = Person(*whom("person", profile_id, email, self.notice))
        session = PersonSession(self, person, enabled=self.config.enabled)
        if traits is not None:
            session.context.identify(person.email, traits)
        return session

    def account(self, *, domain: str | None = None, account_id: str | None = None) -> AccountSession:
        """A company without a request:

        `with client.account(domain="example.com") as account: account.track("Invoice Paid")`.
        """
        return AccountSession(self, domain, account_id, enabled=self.config.enabled)

    @property
    def waits(self) -> bool:
        """Whether handing over waits for the network."""
        return self.config.delivery == "inline"

    def hand_over(self, context: KoalaContext, consent: Consent = "full") -> None:
        """Take what a context holds and give it to delivery, as far as consent goes. Never raises."""
        calls = context.take()
        allowed = permitted(calls, consent)
        self.dropped(len(calls) - len(allowed), "consent")
        self.send(group_calls(allowed), self.surroundings)

    def send(self, written: Sequence[Draft], surroundings: str, ip: str | None = None) -> None:
        """Encode drafts and give them to delivery: no waiting, no exception.

        Args:
            surroundings: What is told about each call, the entries' `context`, as a JSON object.
            ip: The visitor's address, only where the site forwards it.
        """
        for draft in written:
            self._send(draft, surroundings, ip)

    def _send(self, draft: Draft, surroundings: str, ip: str | None) -> None:
        said = len(draft.calls)
        try:
            calls = self.outgoing_filter.select(draft.calls)
            self.dropped(said - len(calls), "sampled")
            said = len(calls)
            if calls:
                self._release(build_batch(draft.subject, calls, surroundings, self.outgoing_filter.clean, ip))
        except Exception as error:  # noqa: BLE001  (the edge: nothing of ours may reach the host)
            self.dropped(said, "error")
            self.notices.warning(
                "what was said in a request could not be encoded and is dropped", error=error
            )

    def _release(self, batch: Batch) -> None:
        """Give the batch to delivery as far as the site's own last look lets it go."""
        try:
            released = self.outgoing_filter.apply_before_send(batch)
        except BeforeSendError as error:
            self.notices.warning(
                "before_send failed; its batches are kept aside, unsent", error=error.__cause__
            )
            self.delivery.set_aside(batch, "before_send failed")
            return
        if released is None:
            self.dropped(len(batch.entries), "before_send")
        else:
            self.delivery.put(released)

    def dropped(self, entries: int, reason: str) -> None:
        """Count what will not be sent, so that stats() adds up."""
        if entries:
            self.delivery.dropped(entries, reason)

    @property
    def consent_given(self) -> Consent:
        """A context that a client owns has outlived a request whose visitor allowed everything."""
        return "full"

    def consent_changed(self, level: Consent) -> PersonSession:
        """After its request, a context is held to what its visitor says now, as a script's is."""
        return PersonSession(self, Person(), consent=level)

    def notice(self, reason: str) -> None:
        self.notices.warning(reason)

    def when_committed(self, then: Callable[[], None]) -> None:
        refuse_on_commit(then)

    def event_fault(self, fault: str, *, counted: bool = True) -> None:
        """An event is unlike its declaration: an error in development, counted and said once otherwise."""
        if self.config.strict_events:
            raise ValueError(fault)
        if counted:
            self.notices.warning(fault)

    def qualify(
        self,
        profile_id: str | None = None,
        *,
        email: str | None = None,
        traits: Traits | None = None,
        timeout: float = QUALIFY_TIMEOUT,
    ) -> Qualification:
        """Ask the endpoint what it makes of a visitor. Waits for the answer: not for a request's handler.

        Args:
            timeout: Seconds that it may take, in all.
        Raises:
            TypeError: an argument has the wrong type.
            ValueError: neither profile_id nor an email is given.
            KoalaApiError: no answer in time, or one that is no success.
        """
        profile_id, email = whom("qualify", profile_id, email, self.notice)
        known = {"profile_id": profile_id, "email": email, "traits": checked_traits("qualify", traits)}
        profile = {name: value for name, value in known.items() if value is not None}
        return qualify(self.config, self.outgoing_filter.clean(profile), timeout)

    def erase(
        self,
        emails: Collection[str],
        *,
        timeout: float = ERASE_TIMEOUT,
        progress: Progress | None = None,
    ) -> ErasureReport:
        """Have everything deleted that is known of these people; what waits of them here is purged, too.

        Asks the app in requests of 50 and waits for the receipts. Time running out is no error: the report
        is then not `complete`, and what was asked for goes on.

        Args:
            timeout: Seconds that it may take, in all.
            progress: Called with how many people are erased, and of how many.
        Raises:
            TypeError: emails is a text, or holds something else than texts.
            ValueError: one of them is no email, or there are none.
            KoalaConfigError: secret_api_key is missing.
            KoalaErasureError: a call failed for good; its `report` holds what was done before.
        """
        people = checked_emails("erase", emails)
        purged = self.delivery.purge(people)
        try:
            report = erase(self.config, people, timeout, progress)
        except KoalaErasureError as error:
            error.report = replace(error.report, purged=purged)
            raise
        # Once more: what was on its way meanwhile, and came back.
        return replace(report, purged=purged + self.delivery.purge(people))

    def flush(self, timeout: float | None = None) -> DeliveryReport:
        """Send what waits, within `timeout` seconds; the report says what was sent and what still waits."""
        check_timeout("flush", timeout)
        return self.delivery.flush(timeout)

    def close(self, timeout: float | None = None) -> DeliveryReport:
        """Flush and stop. Safe to call twice."""
        check_timeout("close", timeout)
        return self.delivery.close(timeout)

    def stats(self) -> DeliveryStats:
        """Counts of entries: accepted = delivered + waiting + refused + dropped, always."""
        return self.delivery.stats()

    def health(self) -> Health:
        """Whether what is said arrives: for a health page. `ok` turns False where somebody should look."""
        return self.delivery.health()


def client_for(client: KoalaClient | None, settings: Mapping[str, Any]) -> KoalaClient:
    """The client that a middleware is given, or one made of its settings.

    Raises:
        TypeError: it is no client, or the settings would have no effect beside it.
        KoalaConfigError: a setting is missing or malformed.
    """
    check_ready("client", client, KoalaClient, settings)
    return client or KoalaClient(**settings)


def living_clients() -> list[KoalaClient]:
    """Every client this process holds."""
    return list(_living)
