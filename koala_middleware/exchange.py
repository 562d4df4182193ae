"""One exchange: a request and its response, whatever the framework.

Opens with the request's head, amends the response's head, and hands over what was said once the last byte is
out. Every decision about cookies, consent and people during a request is made here, so that the adapters only
translate. Must not know any framework, and nothing in it may reach the host: no exception, no waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol, Self

from koala_middleware.calls.context import KoalaContext
from koala_middleware.client import KoalaClient
from koala_middleware.hosts import covers, host_name, registrable_domain
from koala_middleware.identity.consent import Consent, ask, ask_async, permitted
from koala_middleware.identity.cookie import (
    COOKIE_NAME,
    ProfileCookie,
    deleted,
    mint_profile_id,
    read_profile_id,
)
from koala_middleware.identity.cookie_policy import (
    RequestKind,
    caching,
    excluded,
    final,
    may_mint,
    request_kind,
    successful,
)
from koala_middleware.payload.drafts import group_calls
from koala_middleware.payload.entries import context_json, error_member
from koala_middleware.protocol.subjects import Person
from koala_middleware.request.client_address import visitor_address
from koala_middleware.request.head import RequestHead

_RESET_UNSEEN = (
    "reset() in a response that a shared cache may keep: its visitor keeps the old ko_id. "
    "Answer log-out with Cache-Control: private or no-store"
)
_SERVER_ERROR = 500


class ResponseHead(Protocol):
    """A response's head, as the exchange needs it. `values("cache-control")` takes a lower-case name."""

    def values(self, name: str) -> list[str]: ...
    def sets_cookie(self, name: str) -> bool: ...
    def set_cookie(self, cookie: ProfileCookie) -> None: ...
    def set_header(self, name: str, value: str) -> None: ...


class Exchange:
    """The life of one request: opened by an adapter, amended once, ended once or twice.

    Args:
        cookies: The request's cookies, raw.
        head_of: Makes a head of the framework's `request`, when one is asked for.
    Attributes:
        context: What the handler gets as `request.koala`.
        status: The response's status; adapters set it, 500 where the app failed without a response.
    """

    __slots__ = (
        "_client",
        "_consent",
        "_cookie",
        "_ended",
        "_handed_over_at",
        "_head_of",
        "_read_head",
        "_request",
        "_sent_cookie",
        "context",
        "status",
    )

    def __init__(
        self, client: KoalaClient, cookies: str, head_of: Callable[[Any], RequestHead], request: Any
    ) -> None:
        self._client = client
        self._head_of = head_of
        self._request = request
        self._read_head: RequestHead | None = None
        self._cookie = read_profile_id(cookies)
        self._sent_cookie: str | None = None
        self._consent: Consent = "full"
        self._ended = False
        self._handed_over_at = monotonic()
        self.status = 0
        # By position: names cost 0.3 µs here, a twelfth of an exchange.
        is_new = self._cookie is None
        self.context = KoalaContext(
            self, None, self._cookie or mint_profile_id(), is_new, client.config.enabled
        )
        if client.config.identify_from_link:
            self._follow_link()

    @property
    def _head(self) -> RequestHead:
        # Most requests bring their cookie and say nothing: then it is never made, worth 0.2 µs, a twelfth.
        if self._read_head is None:
            self._read_head = self._head_of(self._request)
        return self._read_head

    def ask_consent(self) -> None:
        """Let the site's rule decide, where there is one. Before the handler runs."""
        self._consent = ask(self._client.config, self._head, self._client.notices)

    async def ask_consent_async(self) -> None:
        self._consent = await ask_async(self._client.config, self._head, self._client.notices)

    # The response

    def amends(self) -> bool:
        """Whether the response may need a cookie. Most visitors bring theirs, and it does not."""
        return self.context.is_new or self._client.amends_known_visitors

    def amend(self, response: ResponseHead) -> None:
        """Give the response its cookie, where it may carry one. Called before its head is sent."""
        if self._client.config.identify_user:
            self._identify_user()
        try:
            if self._client.config.page_views and self._is_page(response):
                self.context.page()
            for cookie in self._cookies_for(response):
                response.set_cookie(cookie)
        except Exception as error:  # noqa: BLE001  (the edge: nothing of ours may reach the host)
            self._client.notices.warning("the ko_id cookie could not be set", error=error)

    def _cookies_for(self, response: ResponseHead) -> list[ProfileCookie]:
        if not self._client.config.enabled or not final(self.status) or response.sets_cookie(COOKIE_NAME):
            return []
        kept = caching(response.values)
        if kept == "may be shared":
            if self.context.was_reset:
                self._client.notices.warning(_RESET_UNSEEN)
            return []
        cookies = self._wanted_cookies()
        if cookies and kept == "unsaid":
            response.set_header("Cache-Control", ", ".join([*response.values("cache-control"), "private"]))
        return cookies

    def _wanted_cookies(self) -> list[ProfileCookie]:
        if self._consent == "none":
            return self._withdrawn_cookies()
        if not self._wants_cookie():
            return []
        profile_id = self.context.person.profile_id or mint_profile_id()
        self._sent_cookie = profile_id
        self.context.cookie_set = True
        return [ProfileCookie(profile_id, self._cookie_domain(), self._client.config.cookie_secure)]

    def _wants_cookie(self) -> bool:
        config = self._client.config
        if self.context.was_reset:
            return True  # the handler said so: with the old cookie, the next visitor would be the last one
        if excluded(self._head.path, config.exclude_paths):
            return False
        kind = request_kind(self._head, self._host())
        if self.context.is_new:
            return may_mint(kind, config.mint, used=self.context.touched)
        return config.cookie_refresh and kind is RequestKind.NAVIGATION

    def _withdrawn_cookies(self) -> list[ProfileCookie]:
        clears = self._client.config.clear_on_withdrawal or self.context.was_reset
        if self._cookie is None or not clears:
            return []
        domain = self._cookie_domain()
        # A host-only cookie of the same name is another cookie, and would stay.
        return [deleted(None)] if domain is None else [deleted(domain), deleted(None)]

    def _host(self) -> str:
        """The host the visitor sees."""
        host = self._head.header("host") or ""
        if self._client.config.trust_forwarded_host:
            forwarded = self._head.header("x-forwarded-host") or ""
            # Each proxy adds to the right; the last one is the one that is trusted.
            host = forwarded.rpartition(",")[2].strip() or host
        return host

    def _cookie_domain(self) -> str | None:
        """The Domain for this request's host; None for host-only, wherever there is any doubt."""
        chosen = self._client.config.cookie_domain
        host = self._host()
        if chosen == "auto":
            return registrable_domain(host)
        name = host_name(host)
        if chosen is None or name is None:
            return None
        domains = (chosen,) if isinstance(chosen, str) else chosen
        return max((domain for domain in domains if covers(domain, name)), key=len, default=None)

    # What was said

    def _is_page(self, response: ResponseHead) -> bool:
        """Whether a visitor sees this response as a page: HTML, asked for by a browser's address bar or link."""
        html = any(value.lower().startswith("text/html") for value in response.values("content-type"))
        if not html or not successful(self.status) or self._head.method != "GET":
            return False
        if excluded(self._head.path, self._client.config.exclude_paths):
            return False
        kind = request_kind(self._head, self._host())
        asks_for_html = "text/html" in (self._head.header("accept") or "")
        return kind is RequestKind.NAVIGATION or (kind is RequestKind.UNKNOWN and asks_for_html)

    def _identify_user(self) -> None:
        """Identify who is signed in, where the app has found out and the handler has said nothing of it."""
        if self.context.was_reset:
            return  # the framework may still hold who has just left; the next request knows who is there now
        try:
            signed_in = self._client.users.read(self._head.user)
            if signed_in is None or self.context.email is not None or self._consent != "full":
                return
            if self._client.users.is_first(signed_in.email, self.context.person.profile_id):
                self.context.identify(*signed_in)
        except Exception as error:  # noqa: BLE001  (the site's own function: the request goes on)
            self._client.notices.warning("who is signed in could not be identified", error=error)

    def _follow_link(self) -> None:
        """Identify the visitor by the link that brought them. Only where the site asks for it."""
        from koala_middleware.request.link_identity import identity_from_link  # noqa: PLC0415  (few sites do)

        claim = identity_from_link(self._head.query)
        if claim is not None:
            self.context.identify(claim.email, claim.traits)

    def hand_over(self, context: KoalaContext) -> None:
        """Give what was said so far to delivery. Without consent it stays held, and may yet be released.

        Never raises.
        """
        self._handed_over_at = monotonic()
        try:
            self._hand_over(context)
        except Exception as error:  # noqa: BLE001  (the edge: nothing of ours may reach the host)
            self._client.notices.warning("what was said in a request could not be handed over", error=error)

    def _hand_over(self, context: KoalaContext) -> None:
        if self._consent == "none" and not self._ended:
            return
        calls = context.take()
        if self._client.config.on_error == "drop" and self._failed:
            self._client.dropped(len(calls), "on_error")
            return
        allowed = permitted(calls, self._consent)
        self._client.dropped(len(calls) - len(allowed), "consent")
        if written := group_calls(allowed):
            for draft in written:
                if isinstance(draft.subject, Person):
                    draft.subject = self._reachable(draft.subject)
            self._client.send(written, self._surroundings(), self._address())

    @property
    def waits(self) -> bool:
        """Whether ending it now would wait for the network: something was said, and `delivery="inline"`."""
        return self._client.waits and self.context.has_calls

    def store(self) -> None:
        """Something was said, and bytes are about to go out. A durable outbox has it before anybody can know the
        answer, so that a process that dies now loses nothing of it."""
        if self._client.durable:
            self.hand_over(self.context)

    def chunk_sent(self) -> None:
        """A part of the body has gone out. Streams that never end still deliver every `flush_interval`."""
        if self.context.calls and monotonic() - self._handed_over_at >= self._client.config.flush_interval:
            self.hand_over(self.context)

    def end(self) -> None:
        """The last byte is out, or the app has returned: hand over. May come twice, and never raises."""
        context = self.context
        if self._ended and not context.calls:
            return
        self._ended = True
        if context.calls:
            self.hand_over(context)
        # With less than full consent, or after an error, the exchange stays to judge what is said late.
        judged = self._consent != "full" or (self._client.config.on_error != "send" and self._failed)
        owner = self if judged else self._client
        context.outlives(owner, self._reachable(context.person) if context.is_new else None)
        if context.calls:  # of a thread that spoke since they were taken, and knew of no end yet
            self.hand_over(context)

    @property
    def _failed(self) -> bool:
        return self.status >= _SERVER_ERROR

    def _reachable(self, person: Person) -> Person:
        """The person by email alone where their id cannot last, so that no one-off profile is made of it."""
        lasts = self.status == 0 or person.profile_id in (self._cookie, self._sent_cookie)
        return person if lasts or person.email is None else Person(None, person.email)

    def _surroundings(self) -> str:
        """What the request tells about each entry. Only made where there are entries."""
        client = self._client
        failed_with = self.status if client.config.on_error == "tag" and self._failed else None
        try:
            with_query = client.config.page_query
            clean = client.outgoing_filter.clean
            return client.told_by(
                self._head, self._host(), clean, with_query=with_query, failed_with=failed_with
            )
        except Exception as error:  # noqa: BLE001  (the edge: a head unlike any other must not cost the entries)
            client.notices.warning("what a request tells about its entries could not be read", error=error)
            return context_json(error_member(failed_with))

    def _address(self) -> str | None:
        config = self._client.config
        if not config.forward_ip or self._consent != "full":
            return None
        return visitor_address(self._head, config.trusted_proxies)

    @property
    def consent_given(self) -> Consent:
        return self._consent

    def consent_changed(self, level: Consent) -> Self:
        self._consent = level
        return self

    def notice(self, reason: str) -> None:
        self._client.notices.warning(reason)

    def when_committed(self, then: Callable[[], None]) -> None:
        self._client.when_committed(then)

    def event_fault(self, fault: str, *, counted: bool = True) -> None:
        self._client.event_fault(fault, counted=counted)
