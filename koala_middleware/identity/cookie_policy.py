"""May this request be given a cookie, and may this response carry one: the two questions, as two tables.

A cookie that two people could share is worse than none. Decides from heads and settings alone: sets nothing.
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
    """What a request is for, as far as its headers tell, and whether its answer may carry a new ko_id.

    "if used": only where the handler itself used `request.koala`.
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
_BY_SCRIPTS_AND_FRAMES = frozenset(
    {"empty", "websocket", "iframe", "frame", "embed", "object", "fencedframe", ""}
)
_ANNOUNCING_PREFETCH = ("sec-purpose", "purpose", "x-moz")


def request_kind(head: RequestHead, host: str) -> RequestKind:
    """Source: Fetch Metadata (w3.org/TR/fetch-metadata), and what Chromium was seen to send.

    Args:
        host: The host the visitor sees, which a proxy may have kept from the Host header.
    """
    if head.method == "OPTIONS":
        return RequestKind.PREFLIGHT
    if any("prefetch" in (head.header(name) or "") for name in _ANNOUNCING_PREFETCH):
        return RequestKind.PREFETCH
    site = head.header("sec-fetch-site")
    foreign = _sent_from_elsewhere(head, host) if site is None else site == "cross-site"
    mode = head.header("sec-fetch-mode")
    destination = head.header("sec-fetch-dest")
    if site is mode is destination is None:
        return RequestKind.CROSS_SITE if foreign else RequestKind.UNKNOWN
    if destination == "document" or (mode == "navigate" and not destination):
        # A payment's return or a SAML answer: the visitor has a cookie, Lax kept it at home, and a new one
        # would overwrite it. A link is safe: its cookie was sent, so there is none.
        unsafe = foreign and head.method not in _SAFE_METHODS
        return RequestKind.CROSS_SITE if unsafe else RequestKind.NAVIGATION
    if foreign:
        return RequestKind.CROSS_SITE
    # Without a destination (Chromium 76 to 79), images and the like are told by their mode.
    by_script = mode != "no-cors" if destination is None else destination in _BY_SCRIPTS_AND_FRAMES
    return RequestKind.SAME_SITE if by_script else RequestKind.SUBRESOURCE


def _sent_from_elsewhere(head: RequestHead, host: str) -> bool:
    """Whether another site's page sent this, by its Origin. Browsers send no Sec-Fetch headers over http.

    https and http are two sites to a browser: a form that posts from one to the other takes no cookie along.
    """
    origin = head.header("origin")
    if origin is None:
        return False
    scheme, _, sender = origin.partition("://")
    return scheme != head.scheme or not same_site(sender, host)


def may_mint(kind: RequestKind, mint: Literal["auto", "always", "never"], *, used: bool) -> bool:
    """Whether a visitor without a cookie gets one for this request, as far as the request decides.

    Not even "always" answers another site's request: that could only overwrite an id that was not sent.
    """
    if mint == "never" or kind is RequestKind.CROSS_SITE:
        return False
    return mint == "always" or kind.carries == "yes" or (kind.carries == "if used" and used)


def excluded(path: str, patterns: Iterable[str]) -> bool:
    """Whether `exclude_paths` names this path: `"/health"` itself, `"/static/*"` and all below."""
    return any(
        path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern for pattern in patterns
    )


Caching = Literal["unsaid", "kept private", "may be shared"]

_DIRECTIVE = re.compile(r"""([^\s,;="]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"?|[^\s,;]*))?""")
_LIFETIMES = frozenset({"max-age", "s-maxage"})
_POSITIVE = re.compile("[1-9]")
# What apps say to caches alone, whatever they say to browsers.
_FOR_CACHES = (
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


def caching(values: Callable[[str], list[str]]) -> Caching:
    """Whether a shared cache may keep a response, from its headers. In doubt it may.

    "unsaid" where nothing decides it, as with `no-cache` or `max-age=0`: those may be kept too, as long as
    the app is asked again, and its 304 would then bring back the first visitor's cookie. To be made private.

    Args:
        values: A header's fields by its lower-case name.
    Source: RFC 9111 sections 3, 5.2 and 5.3; RFC 9213; nginx's X-Accel-Expires.
    """
    if _lives_in_caches(values):
        return "may be shared"
    said = _directives(values("cache-control"))
    names = {name for name, _ in said}
    if "no-store" in names:
        return "kept private"
    if names & {"public", "s-maxage"}:
        return "may be shared"
    if ("private", "") in said:  # `private="x-token"` keeps back that header alone
        return "kept private"
    if any(map(_lives, said)) or any(map(_in_future, values("expires"))):
        return "may be shared"
    return "unsaid"


def _lives_in_caches(values: Callable[[str], list[str]]) -> bool:
    to_caches = [directive for name in _FOR_CACHES for directive in _directives(values(name))]
    return any(map(_lives, to_caches)) or any(map(_POSITIVE.search, values("x-accel-expires")))


def _directives(fields: Iterable[str]) -> list[tuple[str, str]]:
    """`['max-age=0, private="x"']` gives `[("max-age", "0"), ("private", "x")]`."""
    return [(name.lower(), value.strip('"')) for field in fields for name, value in _DIRECTIVE.findall(field)]


def _lives(directive: tuple[str, str]) -> bool:
    name, value = directive
    return name in _LIFETIMES and _POSITIVE.search(value) is not None


def _in_future(expires: str) -> bool:
    """Of an Expires header's date. Anything that is none means "already expired"."""
    from werkzeug.http import parse_date  # noqa: PLC0415  (loaded with the middleware: see cookie.prepare)

    moment = parse_date(expires)
    return moment is not None and moment.timestamp() > time.time()


def successful(status: int) -> bool:
    return _FIRST_FINAL_STATUS <= status < _FIRST_REDIRECT


def final(status: int) -> bool:
    """Whether a response of this status is the visitor's own: not interim, and no cache's copy confirmed."""
    return status >= _FIRST_FINAL_STATUS and status != _NOT_MODIFIED
