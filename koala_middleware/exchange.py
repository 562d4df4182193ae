"""One exchange: a request and its response, in any framework.

Every decision about cookies, consent and people during a request is made here, so that front doors only translate.
Must not know frameworks. Nothing here may raise into the host or make it wait.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from koala_middleware.calls.context import KoalaContext
from koala_middleware.client import KoalaClient
from koala_middleware.identity.consent import ask, ask_async
from koala_middleware.identity.cookie import (
    COOKIE_NAME,
    ProfileCookie,
    deleted_cookie,
    mint_profile_id,
    read_profile_id,
)
from koala_middleware.identity.cookie_policy import (
    RequestKind,
    cacheability,
    is_excluded,
    is_final,
    is_success,
    may_mint,
    request_kind,
)
from koala_middleware.identity.domain import cookie_domain, visitor_host
from koala_middleware.payload.drafts import group_calls
from koala_middleware.payload.entries import context_json, error_member
from koala_middleware.protocol.subjects import Person
from koala_middleware.request import entry_context
from koala_middleware.request.client_address import visitor_address
from koala_middleware.request.head import RequestHead
from koala_middleware.request.link_identity import identity_from_link

_RESET_IN_SHARED_CACHE = (
    "reset() in a response that a shared cache may store: the visitor keeps the old ko_id. "
    "Answer log-out with Cache-Control: private or no-store"
)
_SERVER_ERROR = 500


class ResponseHead(Protocol):
    """A response's head. `values("cache-control")` takes a lower-case name."""

    def values(self, name: str) -> list[str]: ...
    def sets_cookie(self, name: str) -> bool: ...
    def set_cookie(self, cookie: ProfileCookie) -> None: ...
    def set_header(self, name: str, value: str) -> None: ...


class Exchange:
    """The life of one request. A front door opens it, lets it process the response's head, and ends it.

    Attributes:
        context: The handler's `request.koala`.
        status: The response's status, set by the front door; 500 if the app failed without a response.
    """

    __slots__ = (
        "_client",
        "_config",
        "_cookie",
        "_handed_over_at",
        "_head",
        "_pipeline",
        "_sent_cookie",
        "context",
        "status",
    )

    def __init__(self, client: KoalaClient, head: RequestHead) -> None:
        self._client = client
        self._config = client.config
        self._pipeline = client._pipeline
        self._head = head
        self._cookie = cookie = read_profile_id(head.cookie_header())
        self._sent_cookie: str | None = None
        self._handed_over_at = 0.0
        self.status = 0
        # By position: names would cost 0.3 µs, a twelfth of an exchange.
        self.context = KoalaContext(self._pipeline, self, None, cookie or mint_profile_id(), cookie is None)
        if client.config.identify_from_link:
            self._identify_from_link()

    def ask_consent(self) -> None:
        """Ask the site's consent function, before the handler runs."""
        self.context._consent = ask(self._config, self._head, self._pipeline.log)

    async def ask_consent_async(self) -> None:
        self.context._consent = await ask_async(self._config, self._head, self._pipeline.log)

    # The response

    def processes_response(self) -> bool:
        """Whether `process_response` may have anything to do. For most known visitors it has not."""
        return self.context.is_new or self._client._processes_known_visitors

    def process_response(self, response: ResponseHead) -> None:
        """Add the cookie to a response that may carry one, before its head is sent."""
        try:
            if self._config.identify_user:
                self._identify_user()
            if self._config.page_views and self._is_page(response):
                self.context.page()
            for cookie in self._cookies_for(response):
                response.set_cookie(cookie)
        except Exception as error:  # noqa: BLE001  (the edge: nothing of ours may reach the host)
            self._pipeline.log.warning("the ko_id cookie could not be set", error=error)

    def _cookies_for(self, response: ResponseHead) -> list[ProfileCookie]:
        if not self._config.enabled or not is_final(self.status) or response.sets_cookie(COOKIE_NAME):
            return []
        stored = cacheability(response.values)
        if stored == "shared":
            if self.context.was_reset:
                self._pipeline.log.warning(_RESET_IN_SHARED_CACHE)
            return []
        cookies = self._wanted_cookies()
        if cookies and stored == "unspecified":
            response.set_header("Cache-Control", ", ".join([*response.values("cache-control"), "private"]))
        return cookies

    def _wanted_cookies(self) -> list[ProfileCookie]:
        if self.context._consent == "none":
            return self._withdrawn_cookies()
        if not self._wants_cookie():
            return []
        profile_id = self.context._person.profile_id or mint_profile_id()
        self._sent_cookie = profile_id
        self.context.cookie_set = True
        return [ProfileCookie(profile_id, self._cookie_domain(), self._config.cookie_secure)]

    def _wants_cookie(self) -> bool:
        if self.context.was_reset:
            return True  # always: with the old cookie, the next visitor would be taken for the last one
        if is_excluded(self._head.path, self._config.exclude_paths):
            return False
        if self.context.is_new:
            return may_mint(self._kind(), self._config.mint, used=self.context._used)
        return self._config.cookie_refresh and self._kind() is RequestKind.NAVIGATION

    def _withdrawn_cookies(self) -> list[ProfileCookie]:
        clears = self._config.clear_on_withdrawal or self.context.was_reset
        if self._cookie is None or not clears:
            return []
        domain = self._cookie_domain()
        # A host-only cookie of the same name is another cookie, and would stay.
        return [deleted_cookie(None)] if domain is None else [deleted_cookie(domain), deleted_cookie(None)]

    def _cookie_domain(self) -> str | None:
        return cookie_domain(visitor_host(self._head, self._config), self._config.cookie_domain)

    def _kind(self) -> RequestKind:
        return request_kind(self._head, visitor_host(self._head, self._config))

    # What the exchange records by itself

    def _is_page(self, response: ResponseHead) -> bool:
        """Whether a visitor sees this response as a page: HTML, for a browser's address bar or a link."""
        html = any(value.lower().startswith("text/html") for value in response.values("content-type"))
        if not html or not is_success(self.status) or self._head.method != "GET":
            return False
        if is_excluded(self._head.path, self._config.exclude_paths):
            return False
        kind = self._kind()
        accepts_html = "text/html" in (self._head.header("accept") or "")
        return kind is RequestKind.NAVIGATION or (kind is RequestKind.UNKNOWN and accepts_html)

    def _identify_user(self) -> None:
        """Identify the signed-in user, unless the handler has identified somebody."""
        if self.context.was_reset:
            return  # the framework may still hold the user who logs out; the next request knows better
        users = self._client._signed_in_users
        try:
            user = users.read(self._head.user)
            if user is None or self.context.email is not None or self.context._consent != "full":
                return
            if users.is_first(user.email, self.context._person.profile_id):
                self.context.identify(*user)
        except Exception as error:  # noqa: BLE001  (the site's own function: the request goes on)
            self._pipeline.log.warning("the signed-in user could not be identified", error=error)

    def _identify_from_link(self) -> None:
        claim = identity_from_link(self._head.query)
        if claim is not None:
            self.context.identify(claim.email, claim.traits)

    # The way into delivery

    @property
    def end_blocks(self) -> bool:
        """Whether ending now would wait for the network: there are calls, and `delivery="inline"`."""
        return self._pipeline.blocks and bool(self.context._calls)

    def persist(self) -> None:
        """Write calls to a durable outbox before the client can see the response they belong to.

        A process that is killed right after its answer then loses nothing of it.
        """
        if self._pipeline.durable:
            self.hand_over(self.context)

    def flush_if_due(self) -> None:
        """Hand over calls every `flush_interval`, also in a stream that never ends."""
        if not self.context._calls:
            return
        now = monotonic()
        if not self._handed_over_at:
            self._handed_over_at = now  # the stream begins
        elif now - self._handed_over_at >= self._config.flush_interval:
            self.hand_over(self.context)

    def end(self) -> None:
        """The last byte is out, or the app has returned: hand over. May be called twice. Never raises."""
        context = self.context
        if context._ended and not context._calls:
            return
        if context._calls:
            self.hand_over(context)
        # After an error the exchange stays, to tag or drop later calls.
        stays = self._config.on_error != "send" and self._failed
        person = self._lasting(context._person) if context.is_new else None
        context._end(self if stays else self._pipeline, person)
        if context._calls:  # held for want of consent, or recorded meanwhile by a thread
            self.hand_over(context)

    def hand_over(self, context: KoalaContext) -> None:
        """Give the calls so far to the pipeline. Without consent they stay, and may yet be released. Never raises."""
        self._handed_over_at = monotonic()
        try:
            self._hand_over(context)
        except Exception as error:  # noqa: BLE001  (the edge: nothing of ours may reach the host)
            self._pipeline.log.warning("the calls of a request could not be handed over", error=error)

    def _hand_over(self, context: KoalaContext) -> None:
        if context._consent == "none" and not context._ended:
            return
        calls = context._take()
        if self._config.on_error == "drop" and self._failed:
            self._pipeline.dropped(len(calls), "on_error")
            return
        written = group_calls(self._pipeline.permitted(calls, context._consent))
        if not written:
            return
        for draft in written:
            if isinstance(draft.subject, Person):
                draft.subject = self._lasting(draft.subject)
        self._pipeline.send(written, self._entry_context(), self._address())

    @property
    def _failed(self) -> bool:
        return self.status >= _SERVER_ERROR

    def _lasting(self, person: Person) -> Person:
        """The person by email alone if the visitor will not keep the id, so that it makes no one-off profile."""
        lasts = self.status == 0 or person.profile_id in (self._cookie, self._sent_cookie)
        return person if lasts or person.email is None else Person(None, person.email)

    def _entry_context(self) -> str:
        """The `context` of this request's entries, as a JSON object."""
        error_status = self.status if self._config.on_error == "tag" and self._failed else None
        try:
            return entry_context.entry_context(
                self._head,
                visitor_host(self._head, self._config),
                self._pipeline.filter.clean,
                with_query=self._config.page_query,
                error_status=error_status,
            )
        except Exception as error:  # noqa: BLE001  (the edge: an unreadable head must not cost the entries)
            self._pipeline.log.warning("a request's page and browser could not be read", error=error)
            return context_json(error_member(error_status))

    def _address(self) -> str | None:
        if not self._config.forward_ip or self.context._consent != "full":
            return None
        return visitor_address(self._head, self._config.trusted_proxies)
