"""One exchange: a request and its response, in any framework.

Every decision about cookies, consent and people during a request is made here, so that front doors only translate.
Must not know frameworks. Nothing here may raise into the host or make it wait.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from koala_middleware.calls.context import KoalaContext
from koala_middleware.calls.current import current
from koala_middleware.client import KoalaClient
from koala_middleware.config.settings import SETTINGS
from koala_middleware.identity.consent import ask, ask_async, stricter
from koala_middleware.identity.cookie import (
    COOKIE_NAME,
    ProfileCookie,
    deleted_cookie,
    mint_profile_id,
    read_profile_id,
)
from koala_middleware.identity.cookie_policy import (
    NOT_MODIFIED,
    Cacheability,
    RequestKind,
    cacheability,
    is_excluded,
    is_final,
    is_success,
    may_mint,
    request_kind,
)
from koala_middleware.identity.domain import cookie_domain, is_host_replaced, visitor_host
from koala_middleware.payload.drafts import group_calls
from koala_middleware.payload.entries import context_json, error_member
from koala_middleware.protocol.subjects import Person
from koala_middleware.request import entry_context
from koala_middleware.request.client_address import visitor_address
from koala_middleware.request.head import RequestHead
from koala_middleware.request.link_identity import identity_from_link
from koala_middleware.request.signed_in import SignedInUsers

_RESET_IN_SHARED_CACHE = (
    "reset() in a response that a shared cache may store: the visitor keeps the old ko_id. "
    "Answer log-out with Cache-Control: private or no-store"
)
_ID_IN_SHARED_CACHE = (
    "profile_id was read for a response that a shared cache may store: others could get the visitor's id. "
    "Answer with Cache-Control: private"
)
_HOST_REPLACED = (
    "a proxy replaces the Host header, so the ko_id cookie is set for one host only, and page URLs may name the "
    "backend. Have the proxy pass Host on, or set trust_forwarded_host=True if it always sets X-Forwarded-Host"
)
_SERVER_ERROR = 500
_SWITCHING_PROTOCOLS = 101


class ResponseHead(Protocol):
    """A response's head. `fields()` are its header fields, names in lower case."""

    def fields(self) -> list[tuple[str, str]]: ...
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
        context = self.context
        return context.is_new or context._id_read or self._client._processes_known_visitors

    def process_response(self, response: ResponseHead) -> None:
        """Add the cookie to a response that may carry one, before its head is sent."""
        try:
            if self._config.identify_user:
                self._identify_user()
            fields = response.fields()
            if self._config.page_views and self._is_page(fields):
                self.context.page()
            if self._config.enabled and is_final(self.status):
                self._set_cookies(response, cacheability(fields))
        except Exception as error:  # noqa: BLE001  (the edge: nothing of ours may reach the host)
            self._pipeline.log.warning("the ko_id cookie could not be set", error=error)

    def _set_cookies(self, response: ResponseHead, stored: Cacheability) -> None:
        if stored == "shared":
            self._warn_of_shared_caches()
            return
        cookies = [] if response.sets_cookie(COOKIE_NAME) else self._wanted_cookies()
        for cookie in cookies:
            response.set_cookie(cookie)
        if (
            stored == "unspecified"
            and (cookies or self.context._id_read)
            and self.status != _SWITCHING_PROTOCOLS
        ):
            said = [value for name, value in response.fields() if name == "cache-control"]
            response.set_header("Cache-Control", ", ".join([*said, "private"]))

    def _warn_of_shared_caches(self) -> None:
        if self.context.was_reset:
            self._pipeline.log.warning(_RESET_IN_SHARED_CACHE)
        elif self.context._id_read:
            self._pipeline.log.warning(_ID_IN_SHARED_CACHE)

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
        if is_excluded(self._head, self._config.exclude_paths):
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
        if is_host_replaced(self._head, self._config):
            self._pipeline.log.warning(_HOST_REPLACED)
            return None
        return cookie_domain(visitor_host(self._head, self._config), self._config.cookie_domain)

    def _kind(self) -> RequestKind:
        return request_kind(self._head, visitor_host(self._head, self._config))

    # What the exchange records by itself

    def _is_page(self, fields: list[tuple[str, str]]) -> bool:
        """Whether a visitor sees this response as a page: HTML, for a browser's address bar or a link.

        A 304 is one as well, though it seldom names its type: the browser shows its copy.
        """
        if self._head.method != "GET" or is_excluded(self._head, self._config.exclude_paths):
            return False
        types = [value.lower() for name, value in fields if name == "content-type"]
        unnamed = self.status == NOT_MODIFIED and not types
        if not (unnamed or any(value.startswith("text/html") for value in types)):
            return False
        if not (is_success(self.status) or self.status == NOT_MODIFIED):
            return False
        accepts_html = "text/html" in (self._head.header("accept") or "")
        kind = self._kind()
        if kind is RequestKind.NAVIGATION:
            return accepts_html or not unnamed
        return kind is RequestKind.UNKNOWN and accepts_html

    def _identify_user(self) -> None:
        """Identify the signed-in user, unless the handler has identified somebody."""
        if self.context.was_reset:
            return  # the framework may still hold the user who logs out; the next request knows better
        try:
            user = self._users.read(self.context._user or self._head.user)
            if user is None or self.context.email is not None or self.context._consent != "full":
                return
            if not self._users.is_known(self.context._person.profile_id, user.email):
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
        if self._pipeline.durable:
            self._pipeline.delivery.deliver_leftovers()
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
        sent = self._pipeline.send(written, self._entry_context(), self._address())
        if self._config.identify_user:
            for draft in sent:
                self._users.remember(draft.subject)

    @property
    def _users(self) -> SignedInUsers:
        return self._client._signed_in_users

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

    def _is_of(self, head: RequestHead) -> bool:
        """Whether this exchange's request has the same visitor, host and browser as another head."""
        own = self._head
        return (
            read_profile_id(head.cookie_header()) == self._cookie
            and head.header("host") == own.header("host")
            and head.header("user-agent") == own.header("user-agent")
        )


def outer_context(attached: object, head: RequestHead) -> KoalaContext | None:
    """The context that a Koala around this one has opened for the same request; None if this one is the outermost.

    Args:
        attached: What the scope, environ or request holds. A bridge from ASGI to WSGI passes on only contextvars.
    """
    if isinstance(attached, KoalaContext) and not attached._ended:
        return attached
    outer = current.get(None)
    if outer is None or outer._ended or not isinstance(outer._recipient, Exchange):
        return None
    return outer if outer._recipient._is_of(head) else None


def join(client: KoalaClient, outer: KoalaContext, head: RequestHead) -> None:
    """Leave the request to the Koala around this one, under the stricter consent of both."""
    if _has_other_settings(client, outer) and client._asks_consent:
        outer._consent = stricter(outer._consent, ask(client.config, head, client._pipeline.log))


async def join_async(client: KoalaClient, outer: KoalaContext, head: RequestHead) -> None:
    if _has_other_settings(client, outer) and client._asks_consent:
        outer._consent = stricter(outer._consent, await ask_async(client.config, head, client._pipeline.log))


def _has_other_settings(client: KoalaClient, outer: KoalaContext) -> bool:
    exchange = outer._recipient
    if not isinstance(exchange, Exchange) or exchange._pipeline is client._pipeline:
        return False
    theirs = exchange._config
    ignored = [name for name in SETTINGS if getattr(client.config, name) != getattr(theirs, name)]
    if ignored:
        client._pipeline.log.warning(
            "Koala is installed twice around one request, and the outer one handles it. Settings of the inner one "
            f"without effect: {', '.join(ignored)}. Of consent, the stricter counts"
        )
    return bool(ignored)
