"""Whether a request may get a new cookie, and whether a response may carry one.

A cookie that two people could share is worse than none. Only decides, by headers; sets nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
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
_SCRIPTS_AND_FRAMES = frozenset(
    {"empty", "websocket", "iframe", "frame", "embed", "object", "fencedframe", ""}
)
_PREFETCH_HEADERS = ("sec-purpose", "purpose", "x-moz")


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
    site = head.header("sec-fetch-site")
    foreign = _from_another_site(head, host) if site is None else site == "cross-site"
    mode = head.header("sec-fetch-mode")
    destination = head.header("sec-fetch-dest")
    if site is mode is destination is None:
        return RequestKind.CROSS_SITE if foreign else RequestKind.UNKNOWN
    if destination == "document" or (mode == "navigate" and not destination):
        # A payment's return or a SAML response: SameSite=Lax kept the visitor's cookie at home, and a new one
        # would overwrite it. Links are safe, since browsers send the cookie with them.
        unsafe = foreign and head.method not in _SAFE_METHODS
        return RequestKind.CROSS_SITE if unsafe else RequestKind.NAVIGATION
    if foreign:
        return RequestKind.CROSS_SITE
    # Without a destination (Chromium 76 to 79), the mode tells images and the like.
    by_script = mode != "no-cors" if destination is None else destination in _SCRIPTS_AND_FRAMES
    return RequestKind.SAME_SITE if by_script else RequestKind.SUBRESOURCE


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


def is_excluded(path: str, patterns: Iterable[str]) -> bool:
    """Whether `exclude_paths` covers this path: `"/health"` only itself, `"/static/*"` all below."""
    return any(
        path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern for pattern in patterns
    )


Cacheability = Literal["unspecified", "private", "shared"]

_DIRECTIVE = re.compile(r"""([^\s,;="]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"?|[^\s,;]*))?""")
_LIFETIMES = frozenset({"max-age", "s-maxage"})
_POSITIVE = re.compile("[1-9]")
# Directives for caches only, whatever Cache-Control tells browsers.
_CACHE_HEADERS = (
    "cdn-cache-control",
    "cloudflare-cdn-cache-control",
    "netlify-cdn-cache-control",
    "vercel-cdn-cache-control",
    "surrogate-control",
    "edge-control",
)
_NOT_MODIFIED = 304
_FIRST_FINAL_STATUS = 200
_FIRST_REDIRECT = 300


def cacheability(values: Callable[[str], list[str]]) -> Cacheability:
    """Whether a shared cache may store a response, by its headers. In doubt it may ("shared").

    "unspecified" where nothing decides it, as with `no-cache` or `max-age=0`: a cache may store these and ask the
    app again, and the app's 304 would bring back the first visitor's cookie. Make such a response private.

    Args:
        values: Returns a header's fields by its lower-case name.
    Source: RFC 9111 sections 3, 5.2 and 5.3; RFC 9213; nginx's X-Accel-Expires.
    """
    if _has_cache_lifetime(values):
        return "shared"
    directives = _directives(values("cache-control"))
    names = {name for name, _ in directives}
    if "no-store" in names:
        return "private"
    if names & {"public", "s-maxage"}:
        return "shared"
    if ("private", "") in directives:  # `private="x-token"` protects that header only
        return "private"
    if any(map(_has_lifetime, directives)) or any(map(_in_future, values("expires"))):
        return "shared"
    return "unspecified"


def _has_cache_lifetime(values: Callable[[str], list[str]]) -> bool:
    for_caches = [directive for name in _CACHE_HEADERS for directive in _directives(values(name))]
    return any(map(_has_lifetime, for_caches)) or any(map(_POSITIVE.search, values("x-accel-expires")))


def _directives(fields: Iterable[str]) -> list[tuple[str, str]]:
    """`['max-age=0, private="x"']` gives `[("max-age", "0"), ("private", "x")]`."""
    return [(name.lower(), value.strip('"')) for field in fields for name, value in _DIRECTIVE.findall(field)]


def _has_lifetime(directive: tuple[str, str]) -> bool:
    name, value = directive
    return name in _LIFETIMES and _POSITIVE.search(value) is not None


def _in_future(expires: str) -> bool:
    """Whether an Expires header is a date to come. Anything else means "already expired"."""
    from werkzeug.http import parse_date  # noqa: PLC0415  (loaded by cookie.preload)

    moment = parse_date(expires)
    return moment is not None and moment.timestamp() > time.time()


def is_success(status: int) -> bool:
    return _FIRST_FINAL_STATUS <= status < _FIRST_REDIRECT


def is_final(status: int) -> bool:
    """Whether a response is the visitor's own: not interim, and not the confirmation of a cache's copy."""
    return status >= _FIRST_FINAL_STATUS and status != _NOT_MODIFIED
