"""Whether a request may get a new cookie, and whether a response may carry one.

A cookie that two people could share is worse than none. Only decides, by headers; sets nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Literal

from koala_middleware.hosts import same_site
from koala_middleware.request.head import RequestHead

Carries = Literal["yes", "if used", "no"]


class RequestKind(Enum):
    """What a request is for, by its headers, and whether its response may carry a new ko_id.

    "if used": only if the handler used `request.koala`.
    """

    NAVIGATION = "a page load", "yes"
    UNKNOWN = "anything from a client that sends no Sec-Fetch headers", "yes"
    SAME_SITE = "a fetch, beacon or frame of the same site", "if used"
    SUBRESOURCE = "an image, script, style, font, media file or worker", "no"
    PREFETCH = "a prefetch or prerender", "no"
    PREFLIGHT = "a preflight or another OPTIONS request", "no"
    CROSS_SITE = "a form post, frame or fetch from another site", "no"

    def __init__(self, about: str, carries: Carries) -> None:
        self.about = about
        self.carries = carries


_SAFE_METHODS = frozenset({"GET", "HEAD"})
_BY_SERVICE_WORKER = (None, "", "empty")  # the destination of a page load that a service worker passes on
_SCRIPTS_AND_FRAMES = frozenset(
    {"empty", "websocket", "iframe", "frame", "embed", "object", "fencedframe", ""}
)
_PREFETCH_HEADERS = ("sec-purpose", "purpose", "x-moz", "x-sec-purpose")  # the last is Turbo's


def request_kind(head: RequestHead, host: str) -> RequestKind:
    """The kind of a request.

    Args:
        host: The host that the visitor sees.
    Source: Fetch Metadata (w3.org/TR/fetch-metadata), and what Chromium sends.
    """
    if head.method == "OPTIONS":
        return RequestKind.PREFLIGHT
    if any("prefetch" in (head.header(name) or "") for name in _PREFETCH_HEADERS):
        return RequestKind.PREFETCH
    foreign = _is_foreign(head, host)
    sent = {name: head.header(f"sec-fetch-{name}") for name in ("site", "mode", "dest")}
    if sent["dest"] != "document" and not foreign and (library := _by_library(head)) is not None:
        return library
    if not any(value is not None for value in sent.values()):
        return RequestKind.CROSS_SITE if foreign else RequestKind.UNKNOWN
    return _by_fetch_metadata(head, host, sent["mode"], sent["dest"], foreign=foreign)


def _by_fetch_metadata(
    head: RequestHead, host: str, mode: str | None, destination: str | None, *, foreign: bool
) -> RequestKind:
    if destination == "document" or (mode == "navigate" and destination in _BY_SERVICE_WORKER):
        # A payment's return or a SAML response: SameSite=Lax kept the visitor's cookie at home, and a new one
        # would overwrite it. Links are safe, since browsers send the cookie with them. A service worker's request
        # is of its own site, but still has the Origin of the page that posted the form.
        foreign = foreign or (destination == "empty" and _from_another_site(head, host))
        unsafe = foreign and head.method not in _SAFE_METHODS
        return RequestKind.CROSS_SITE if unsafe else RequestKind.NAVIGATION
    if foreign:
        return RequestKind.CROSS_SITE
    # Without a destination (Chromium 76 to 79), the mode tells images and the like.
    by_script = mode != "no-cors" if destination is None else destination in _SCRIPTS_AND_FRAMES
    return RequestKind.SAME_SITE if by_script else RequestKind.SUBRESOURCE


def _is_foreign(head: RequestHead, host: str) -> bool:
    site = head.header("sec-fetch-site")
    return _from_another_site(head, host) if site is None else site == "cross-site"


def _by_library(head: RequestHead) -> RequestKind | None:
    """The kind by the headers of JavaScript libraries, which no form, link or image of another site can send.

    htmx and Turbo load whole pages by fetch (boosted links, Turbo Drive), and parts of pages, too.
    """
    if head.header("hx-preloaded") == "true":
        return RequestKind.PREFETCH
    turbo_page = head.header("x-turbo-request-id") and head.header("turbo-frame") is None
    if head.header("hx-boosted") == "true" or turbo_page:
        return RequestKind.NAVIGATION
    # Android's web views send an app's name as X-Requested-With, with page loads as well.
    by_script = (head.header("x-requested-with") or "").lower() == "xmlhttprequest"
    part = by_script or head.header("hx-request") == "true" or head.header("turbo-frame")
    return RequestKind.SAME_SITE if part else None


def _from_another_site(head: RequestHead, host: str) -> bool:
    """Whether another site's page sent this, by its Origin. Browsers send no Sec-Fetch headers over http.

    https and http are different sites to a browser: a form that posts from one to the other sends no cookie.
    """
    origin = head.header("origin")
    if origin is None:
        return False
    scheme, _, sender = origin.partition("://")
    return scheme != head.scheme or not same_site(sender, host)


def may_mint(kind: RequestKind, mint: Literal["auto", "always", "never"], *, used: bool) -> bool:
    """Whether the visitor of a request without a cookie may get one.

    Not even "always" applies to another site's request, where it could overwrite an id that was not sent.
    """
    if mint == "never" or kind is RequestKind.CROSS_SITE:
        return False
    return mint == "always" or kind.carries == "yes" or (kind.carries == "if used" and used)


def is_excluded(head: RequestHead, patterns: Iterable[str]) -> bool:
    """Whether `exclude_paths` covers a request: `"/health"` only itself, `"/static/*"` all below.

    Compares the full path, and the path below the mount point or root path.
    """
    return any(
        path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
        for pattern in patterns
        for path in (head.path, head.path_in_app)
    )


Cacheability = Literal["unspecified", "private", "shared"]

_DIRECTIVE = re.compile(r"""([^\s,;="]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"?|[^\s,;]*))?""")
_LIFETIMES = frozenset({"max-age", "s-maxage"})
_POSITIVE = re.compile("[1-9]")
# Headers that only caches read, whatever Cache-Control tells browsers: CDN-Cache-Control, Akamai-Cache-Control,
# X-LiteSpeed-Cache-Control and so on.
_CACHE_HEADER = re.compile(r".+-cache-control|surrogate-control|edge-control")
_CACHE_LIFETIME = re.compile(r".*max-?age")
_SWITCHING_PROTOCOLS = 101
NOT_MODIFIED = 304
_FIRST_FINAL_STATUS = 200
_FIRST_REDIRECT = 300


def cacheability(fields: Sequence[tuple[str, str]]) -> Cacheability:
    """Whether a shared cache may store a response, by its headers. In doubt it may ("shared").

    "unspecified" where nothing decides it, as with `no-cache` or `max-age=0`: a cache may store these and ask the
    app again, and the app's 304 would bring back the first visitor's cookie. Make such a response private.

    Args:
        fields: The response's header fields; names in lower case.
    Source: RFC 9111 sections 3, 5.2 and 5.3; RFC 9213; nginx's X-Accel-Expires.
    """
    if any(_for_shared_caches(name, value) for name, value in fields):
        return "shared"
    directives = [found for name, value in fields if name == "cache-control" for found in _directives(value)]
    names = {name for name, _ in directives}
    if "no-store" in names:
        return "private"
    if names & {"public", "s-maxage"}:
        return "shared"
    if ("private", "") in directives:  # `private="x-token"` protects that header only
        return "private"
    if any(map(_has_lifetime, directives)) or any(
        name == "expires" and _in_future(value) for name, value in fields
    ):
        return "shared"
    return "unspecified"


def _for_shared_caches(name: str, value: str) -> bool:
    """Whether a header field lets a cache store the response, or keep it for some time."""
    if name == "x-accel-expires":
        return _POSITIVE.search(value) is not None
    if not _CACHE_HEADER.fullmatch(name):
        return False
    return any(
        directive == "public" or (_CACHE_LIFETIME.fullmatch(directive) and _POSITIVE.search(argument))
        for directive, argument in _directives(value)
    )


def _directives(value: str) -> list[tuple[str, str]]:
    """`'max-age=0, private="x"'` gives `[("max-age", "0"), ("private", "x")]`."""
    return [(name.lower(), argument.strip('"')) for name, argument in _DIRECTIVE.findall(value)]


def _has_lifetime(directive: tuple[str, str]) -> bool:
    name, argument = directive
    return name in _LIFETIMES and _POSITIVE.search(argument) is not None


def _in_future(expires: str) -> bool:
    """Whether an Expires header is a date to come. Anything else means "already expired"."""
    from werkzeug.http import parse_date  # noqa: PLC0415  (loaded by cookie.preload)

    moment = parse_date(expires)
    return moment is not None and moment.timestamp() > time.time()


def is_success(status: int) -> bool:
    return _FIRST_FINAL_STATUS <= status < _FIRST_REDIRECT


def is_final(status: int) -> bool:
    """Whether a response is the visitor's own: not interim, and not the confirmation of a cache's copy.

    101 is the last response of a request that becomes a websocket.
    """
    return (status >= _FIRST_FINAL_STATUS and status != NOT_MODIFIED) or status == _SWITCHING_PROTOCOLS
