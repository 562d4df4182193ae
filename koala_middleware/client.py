"""KoalaClient: one configuration and its delivery, for middlewares, scripts and jobs.

Knows no request and no cookie: exchange.py does, and uses a client.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from koala_middleware.calls.context import Traits
from koala_middleware.calls.session import AccountSession, PersonSession
from koala_middleware.calls.validation import (
    check_exclusive,
    check_timeout,
    checked_emails,
    checked_person,
    checked_traits,
)
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import DeliveryReport, DeliveryStats, Health
from koala_middleware.identity import cookie
from koala_middleware.payload.message_ids import new_message_id
from koala_middleware.pipeline import Pipeline
from koala_middleware.protocol.subjects import Person
from koala_middleware.request.signed_in import SignedInUsers
from koala_middleware.rest.api import QUALIFY_TIMEOUT, Qualification, qualify
from koala_middleware.rest.erasure import TIMEOUT as ERASE_TIMEOUT
from koala_middleware.rest.erasure import ErasureReport, KoalaErasureError, Progress, erase


class KoalaClient:
    """A configuration and its delivery. Every middleware holds one; scripts make their own.

    Args:
        config: A ready configuration, alone; else the settings are read from keywords and the environment.
    Raises:
        KoalaConfigError: a setting is missing or malformed.
        TypeError: a keyword is not a setting, or would have no effect beside `config`.
    """

    _pipeline_class: ClassVar[type[Pipeline]] = Pipeline

    def __init__(self, config: KoalaConfig | None = None, **settings: Any) -> None:
        check_exclusive("config", config, KoalaConfig, settings)
        self.config = config = config or KoalaConfig.load(settings)
        self._pipeline = self._pipeline_class(config)
        # For exchanges: decided once, not for every request.
        self._asks_consent = config.enabled and (config.honor_gpc or config.consent is not None)
        self._processes_known_visitors = (
            config.cookie_refresh
            or config.clear_on_withdrawal
            or bool(config.identify_user)
            or config.page_views
        )
        self._signed_in_users = SignedInUsers(config.identify_user)
        _preload()

    def person(
        self, *, profile_id: str | None = None, email: str | None = None, traits: Traits | None = None
    ) -> PersonSession:
        """A context outside requests, for scripts and webhooks; `koala` is this context within.

        `with client.person(email="ada@example.com") as koala: koala.track("Invoice Paid")`, or `async with`.
        Hands over what was recorded when the block ends, also after an exception.

        Args:
            traits: Known traits, recorded as the block's first identify.
        Raises:
            TypeError: an argument has the wrong type.
            ValueError: neither profile_id nor an email is given.
        """
        person = Person(*checked_person("person", profile_id, email, self._pipeline.log.warning))
        session = PersonSession(self._pipeline, person)
        if traits is not None:
            session._context.identify(person.email, traits)
        return session

    def account(self, *, domain: str | None = None, account_id: str | None = None) -> AccountSession:
        """A company outside requests:

        `with client.account(domain="example.com") as account: account.track("Invoice Paid")`.
        """
        return AccountSession(self._pipeline, domain, account_id)

    def qualify(
        self,
        profile_id: str | None = None,
        *,
        email: str | None = None,
        traits: Traits | None = None,
        timeout: float = QUALIFY_TIMEOUT,
    ) -> Qualification:
        """Ask the endpoint to qualify a visitor. Waits for the answer, so do not call it in a request's handler.

        Args:
            timeout: Seconds, in all.
        Raises:
            TypeError: an argument has the wrong type.
            ValueError: neither profile_id nor an email is given.
            KoalaApiError: no answer in time, or an error.
        """
        profile_id, email = checked_person("qualify", profile_id, email, self._pipeline.log.warning)
        known = {"profile_id": profile_id, "email": email, "traits": checked_traits("qualify", traits)}
        profile = {name: value for name, value in known.items() if value is not None}
        return qualify(self.config, self._pipeline.filter.clean(profile), timeout)

    def erase(
        self,
        emails: Collection[str],
        *,
        timeout: float = ERASE_TIMEOUT,
        progress: Progress | None = None,
    ) -> ErasureReport:
        """Delete everything known of these people, here and at the app.

        Purges their waiting entries, asks the app in requests of 50, and waits for the receipts. If the time runs
        out, the report is not `complete`, and the app goes on with what it was asked.

        Args:
            timeout: Seconds, in all.
            progress: Called with the number of people erased, and of people in all.
        Raises:
            TypeError: emails is a str, or holds something other than str.
            ValueError: one of them is invalid, or there are none.
            KoalaConfigError: secret_api_key is missing.
            KoalaErasureError: a call failed for good; its `report` holds what was done before.
        """
        people = checked_emails("erase", emails)
        purged = self._pipeline.delivery.purge(people)
        self._signed_in_users.forget(people)
        try:
            report = erase(self.config, people, timeout, progress)
        except KoalaErasureError as error:
            error.report = replace(error.report, purged=purged)
            raise
        # Once more, for entries that were on their way and came back.
        return replace(report, purged=purged + self._pipeline.delivery.purge(people))

    def flush(self, timeout: float | None = None) -> DeliveryReport:
        """Send what waits, within `timeout` seconds (10 when None). The report says what was sent and still waits."""
        check_timeout("flush", timeout)
        return self._pipeline.delivery.flush(timeout)

    def close(self, timeout: float | None = None) -> DeliveryReport:
        """Flush and stop. Safe to call twice."""
        check_timeout("close", timeout)
        return self._pipeline.delivery.close(timeout)

    def stats(self) -> DeliveryStats:
        """Counts of entries: accepted = delivered + waiting + refused + dropped, always."""
        return self._pipeline.delivery.stats()

    def health(self) -> Health:
        """Whether entries arrive: for a health page. `ok` turns False when somebody should look."""
        return self._pipeline.delivery.health()


def client_for(client: KoalaClient | None, settings: Mapping[str, Any]) -> KoalaClient:
    """The client given to a middleware, or a new one with its settings.

    Raises:
        TypeError: it is not a client, or the settings would have no effect beside it.
        KoalaConfigError: a setting is missing or malformed.
    """
    check_exclusive("client", client, KoalaClient, settings)
    return client or KoalaClient(**settings)


def _preload() -> None:
    """Import and build what the first visitor's response would otherwise wait for."""
    cookie.preload()
    new_message_id()
