"""Which requests get a cookie, and which responses carry one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from koala_middleware.identity.cookie_policy import (
    RequestKind,
    cacheability,
    is_excluded,
    is_final,
    may_mint,
    request_kind,
)
from koala_middleware.request.head import AsgiHead, RequestHead, WsgiHead

if TYPE_CHECKING:
    from identity.conftest import Site

NAVIGATION = RequestKind.NAVIGATION
UNKNOWN = RequestKind.UNKNOWN
SAME_SITE = RequestKind.SAME_SITE
SUBRESOURCE = RequestKind.SUBRESOURCE
PREFETCH = RequestKind.PREFETCH
PREFLIGHT = RequestKind.PREFLIGHT
CROSS_SITE = RequestKind.CROSS_SITE


def kind(line: str) -> RequestKind:
    """Of a request written as `GET https, site: none, mode: navigate, origin: …`, for www.example.com."""
    first, *fields = line.split(", ")
    method, _, scheme = first.partition(" ")
    headers = []
    for field in fields:
        name, _, value = field.partition(": ")
        name = f"sec-fetch-{name}" if name in {"site", "mode", "dest"} else name
        headers.append((name.encode(), value.encode()))
    scope = {"method": method, "scheme": scheme or "https", "path": "/", "headers": headers}
    return request_kind(AsgiHead(scope), "www.example.com:8000")


KINDS = {
    "an address typed in": ("GET, site: none, mode: navigate, dest: document", NAVIGATION),
    "a link on the same page": ("GET, site: same-origin, mode: navigate, dest: document", NAVIGATION),
    "a link on a sibling": ("GET, site: same-site, mode: navigate, dest: document", NAVIGATION),
    "a link on another site": ("GET, site: cross-site, mode: navigate, dest: document", NAVIGATION),
    "a HEAD from another site": ("HEAD, site: cross-site, mode: navigate, dest: document", NAVIGATION),
    "a form of the same site": ("POST, site: same-origin, mode: navigate, dest: document", NAVIGATION),
    "a payment's return": ("POST, site: cross-site, mode: navigate, dest: document", CROSS_SITE),
    "a fetch": ("GET, site: same-origin, mode: cors, dest: empty", SAME_SITE),
    "a fetch from a sibling": ("POST, site: same-site, mode: cors, dest: empty", SAME_SITE),
    "a beacon": ("POST, site: same-origin, mode: no-cors, dest: empty", SAME_SITE),
    "a frame of the same site": ("GET, site: same-origin, mode: navigate, dest: iframe", SAME_SITE),
    "a websocket": ("GET, site: same-origin, mode: websocket, dest: websocket", SAME_SITE),
    "a fetch from another site": ("GET, site: cross-site, mode: cors, dest: empty", CROSS_SITE),
    "a frame in another site": ("GET, site: cross-site, mode: navigate, dest: iframe", CROSS_SITE),
    "an image": ("GET, site: same-origin, mode: no-cors, dest: image", SUBRESOURCE),
    "a script": ("GET, site: same-origin, mode: no-cors, dest: script", SUBRESOURCE),
    "a style": ("GET, site: same-site, mode: no-cors, dest: style", SUBRESOURCE),
    "a font": ("GET, site: same-origin, mode: cors, dest: font", SUBRESOURCE),
    "a video": ("GET, site: same-origin, mode: no-cors, dest: video", SUBRESOURCE),
    "a worker": ("GET, site: same-origin, mode: same-origin, dest: serviceworker", SUBRESOURCE),
    "a manifest": ("GET, site: same-origin, mode: cors, dest: manifest", SUBRESOURCE),
    "what is not invented yet": ("GET, site: same-origin, mode: no-cors, dest: hologram", SUBRESOURCE),
    "an image in another site": ("GET, site: cross-site, mode: no-cors, dest: image", CROSS_SITE),
    "a preflight": ("OPTIONS, site: same-site, mode: cors, dest: empty", PREFLIGHT),
    "another OPTIONS": ("OPTIONS", PREFLIGHT),
    "a prefetch": ("GET, site: none, mode: navigate, dest: document, sec-purpose: prefetch", PREFETCH),
    "a prerender": (
        "GET, site: none, mode: navigate, dest: document, sec-purpose: prefetch;prerender",
        PREFETCH,
    ),
    "a prefetch, the older way": ("GET, purpose: prefetch", PREFETCH),
    "a prefetch, Firefox's older way": ("GET, x-moz: prefetch", PREFETCH),
    "curl": ("GET", UNKNOWN),
    "curl's POST": ("POST", UNKNOWN),
    "a form over http": ("POST http, origin: http://www.example.com:8000", UNKNOWN),
    "a form of a sibling over http": ("POST http, origin: http://shop.example.com", UNKNOWN),
    "a payment's return over http": ("POST http, origin: http://pay.test", CROSS_SITE),
    "a form of this site's https page over http": ("POST http, origin: https://www.example.com", CROSS_SITE),
    "a sandboxed form": ("POST http, origin: null", CROSS_SITE),
    "an Origin that is none": ("POST http, origin: http://[", CROSS_SITE),
    "a fetch over http from another site": ("GET http, origin: http://pay.test", CROSS_SITE),
    # Through the site's service worker: e.respondWith(fetch(e.request)).
    "a page load by a service worker": ("GET, site: same-origin, mode: navigate, dest: empty", NAVIGATION),
    "a form of the same site by a service worker": (
        "POST, site: same-origin, mode: navigate, dest: empty, origin: https://www.example.com",
        NAVIGATION,
    ),
    "a payment's return by a service worker": (
        "POST, site: same-origin, mode: navigate, dest: empty, origin: https://pay.test",
        CROSS_SITE,
    ),
    # By JavaScript libraries.
    "a boosted link of htmx": (
        "GET, site: same-origin, mode: cors, dest: empty, hx-request: true, hx-boosted: true",
        NAVIGATION,
    ),
    "a part of a page by htmx": ("GET http, hx-request: true", SAME_SITE),
    "a preload of htmx": ("GET http, hx-request: true, hx-preloaded: true", PREFETCH),
    "a page by Turbo Drive": (
        "GET, site: same-origin, mode: cors, dest: empty, x-turbo-request-id: 1",
        NAVIGATION,
    ),
    "a frame by Turbo": (
        "GET, site: same-origin, mode: cors, dest: empty, x-turbo-request-id: 1, turbo-frame: cart",
        SAME_SITE,
    ),
    "a prefetch by Turbo": (
        "GET, site: same-origin, mode: cors, dest: empty, x-turbo-request-id: 1, x-sec-purpose: prefetch",
        PREFETCH,
    ),
    "jQuery over http": ("GET http, x-requested-with: XMLHttpRequest", SAME_SITE),
    "a page load in an Android app over http": ("GET http, x-requested-with: com.example.shop", UNKNOWN),
    # A proxy or an old browser that leaves some of them out.
    "mode alone, a navigation": ("GET, mode: navigate", NAVIGATION),
    "mode alone, a fetch": ("GET, mode: cors", SAME_SITE),
    "mode alone, an image": ("GET, mode: no-cors", SUBRESOURCE),
    "dest alone, a document": ("GET, dest: document", NAVIGATION),
    "dest alone, an image": ("GET, dest: image", SUBRESOURCE),
    "site and mode, a navigation": ("GET, site: cross-site, mode: navigate", NAVIGATION),
    "site and mode, a foreign post": ("POST, site: cross-site, mode: navigate", CROSS_SITE),
    "site and mode, an image": ("GET, site: same-origin, mode: no-cors", SUBRESOURCE),
    "no site, a foreign post": ("POST, mode: navigate, dest: document, origin: https://pay.test", CROSS_SITE),
    "site alone": ("GET, site: same-origin", SAME_SITE),
    "site alone, foreign": ("GET, site: cross-site", CROSS_SITE),
}


@pytest.mark.parametrize(("line", "expected"), KINDS.values(), ids=KINDS.keys())
def test_the_kind_of_a_request_follows_from_its_headers(line: str, expected: RequestKind) -> None:
    assert kind(line) is expected


MINTS = [
    # kind, untouched, used, mint="always"
    (NAVIGATION, True, True, True),
    (UNKNOWN, True, True, True),
    (SAME_SITE, False, True, True),
    (SUBRESOURCE, False, False, True),
    (PREFETCH, False, False, True),
    (PREFLIGHT, False, False, True),
    (CROSS_SITE, False, False, False),
]


@pytest.mark.parametrize(
    ("asked", "untouched", "used", "always"), MINTS, ids=[kind.name for kind, *_ in MINTS]
)
def test_which_requests_get_a_cookie(asked: RequestKind, untouched: bool, used: bool, always: bool) -> None:
    assert may_mint(asked, "auto", used=False) is untouched
    assert may_mint(asked, "auto", used=True) is used
    assert may_mint(asked, "always", used=False) is always
    assert may_mint(asked, "never", used=True) is False


def test_every_kind_of_request_is_decided() -> None:
    assert {decided for decided, *_ in MINTS} == set(RequestKind)


CACHING: dict[str, tuple[str, str]] = {
    "nothing said": ("", "unspecified"),
    "private": ("cache-control: private", "private"),
    "no-store": ("cache-control: no-store", "private"),
    "private with a lifetime": ("cache-control: max-age=60, private", "private"),
    "in upper case": ("cache-control: PRIVATE, MAX-AGE=60", "private"),
    "private in a second field": ("cache-control: max-age=60 | cache-control: private", "private"),
    "what Django's never_cache says": (
        "cache-control: max-age=0, no-cache, no-store, must-revalidate, private"
        " | expires: Thu, 01 Jan 1970 00:00:00 GMT",
        "private",
    ),
    "no-store against public": ("cache-control: public, no-store", "private"),
    "public": ("cache-control: public", "shared"),
    "public without a lifetime": ("cache-control: public, max-age=0", "shared"),
    "public against private": ("cache-control: public, private", "shared"),
    "s-maxage": ("cache-control: s-maxage=60", "shared"),
    "s-maxage of nothing": ("cache-control: s-maxage=0", "shared"),
    "s-maxage against private": ("cache-control: private, s-maxage=60", "shared"),
    "max-age": ("cache-control: max-age=60", "shared"),
    "max-age in quotes": ('cache-control: max-age="60"', "shared"),
    "max-age with blanks": ("cache-control: max-age = 60", "shared"),
    "max-age with zeros in front": ("cache-control: max-age=0060", "shared"),
    "max-age said twice": ("cache-control: max-age=0, max-age=60", "shared"),
    "private but for some fields": (
        'cache-control: private="x-token, set-cookie", max-age=60',
        "shared",
    ),
    "a lifetime in a second field": (
        "cache-control: no-transform | cache-control: max-age=60",
        "shared",
    ),
    "a date ahead": ("expires: Thu, 01 Jan 2099 00:00:00 GMT", "shared"),
    "a date ahead beside no-cache": (
        "cache-control: no-cache | expires: Thu, 01 Jan 2099 00:00:00 GMT",
        "shared",
    ),
    "a lifetime for a CDN": ("cache-control: private | cdn-cache-control: max-age=60", "shared"),
    "a lifetime for one CDN": (
        "cache-control: no-store | cloudflare-cdn-cache-control: max-age=60",
        "shared",
    ),
    "a lifetime for a surrogate": ('surrogate-control: content="ESI/1.0";max-age=60', "shared"),
    "a lifetime for nginx": ("cache-control: private | x-accel-expires: 60", "shared"),
    "a time for nginx": ("x-accel-expires: @1893456000", "shared"),
    "a lifetime for Akamai's Edge-Control": ("edge-control: cache-maxage=1d", "shared"),
    "a lifetime in Akamai-Cache-Control": ("akamai-cache-control: max-age=60", "shared"),
    "public for LiteSpeed against private": (
        "cache-control: private | x-litespeed-cache-control: public",
        "shared",
    ),
    "a lifetime for a cache that nobody knows yet": ("hologram-cache-control: s-maxage=60", "shared"),
    "private for LiteSpeed": ("x-litespeed-cache-control: private, no-cache", "unspecified"),
    "no lifetime in Edge-Control": ("edge-control: cache-maxage=0s", "unspecified"),
    "no lifetime for nginx": ("cache-control: private | x-accel-expires: 0", "private"),
    "no lifetime for a CDN": ("cache-control: private | cdn-cache-control: no-store", "private"),
    "no-cache": ("cache-control: no-cache", "unspecified"),
    "max-age=0": ("cache-control: max-age=0, must-revalidate", "unspecified"),
    "a negative max-age": ("cache-control: max-age=-0", "unspecified"),
    "a max-age that is none": ("cache-control: max-age=soon", "unspecified"),
    "a date behind": ("expires: Thu, 01 Jan 1970 00:00:00 GMT", "unspecified"),
    "a date that is none": ("expires: 0", "unspecified"),
    "a word within a value": ('cache-control: note="private, public"', "unspecified"),
    "a word within a word": ("cache-control: x-private, not-public, my-max-age=60", "unspecified"),
    "nonsense": ('cache-control: ,,;=", =a, "', "unspecified"),
}


def fields(lines: str) -> list[tuple[str, str]]:
    pairs = (line.partition(": ") for line in lines.split(" | "))
    return [(name, value) for name, _, value in pairs]


@pytest.mark.parametrize(("lines", "expected"), CACHING.values(), ids=CACHING.keys())
def test_a_shared_cache_may_keep(lines: str, expected: str) -> None:
    assert cacheability(fields(lines)) == expected


@pytest.mark.parametrize(("lines", "expected"), CACHING.values(), ids=CACHING.keys())
def test_the_cookie_follows_what_caches_may_do(site: Site, lines: str, expected: str) -> None:
    if site.framework == "Django":
        lines = _one_field_each(lines)
    sent = [(name, value) for name, value in fields(lines) if name]
    site.handler = lambda _: sent

    answer = site.get()

    assert len(answer.set_cookies) == (0 if expected == "shared" else 1)
    assert cacheability(answer.headers) == ("shared" if expected == "shared" else "private")
    said = [value for name, value in sent if name == "cache-control"]
    if expected != "unspecified":
        assert answer.values("cache-control") == said
    else:
        assert answer.values("cache-control") == [", ".join([*said, "private"])]


def _one_field_each(lines: str) -> str:
    """Django holds one field of each name."""
    together: dict[str, list[str]] = {}
    for name, _, value in (line.partition(": ") for line in lines.split(" | ")):
        together.setdefault(name, []).append(value)
    return " | ".join(f"{name}: {', '.join(said)}" for name, said in together.items())


@pytest.mark.parametrize("status", [200, 201, 204, 301, 302, 303, 307, 400, 404, 422, 500, 503])
def test_redirects_and_errors_carry_the_cookie_too(site: Site, status: int) -> None:
    site.status = status

    assert len(site.get().set_cookies) == 1


def test_the_confirmation_of_a_caches_copy_carries_no_cookie(site: Site) -> None:
    site.status = 304

    answer = site.get()

    assert answer.set_cookies == []
    assert answer.values("cache-control") == []


def test_interim_answers_are_not_the_visitors() -> None:
    assert [is_final(status) for status in (0, 101, 103, 200, 304)] == [False, True, False, True, False]


@pytest.mark.parametrize(
    "head",
    [
        AsgiHead({"path": "/shop/health", "root_path": "/shop"}),
        WsgiHead({"SCRIPT_NAME": "/shop", "PATH_INFO": "/health"}),
    ],
)
@pytest.mark.parametrize("pattern", ["/health", "/shop/health", "/heal*"])
def test_exclude_paths_names_the_full_path_or_the_one_below_the_mount_point(
    head: RequestHead, pattern: str
) -> None:
    assert is_excluded(head, [pattern])


PATHS: list[tuple[str, bool]] = [
    ("/health", True),
    ("/health/", False),
    ("/healthy", False),
    ("/static/", True),
    ("/static/css/site.css", True),
    ("/static", False),
    ("/", False),
    ("/prüfung", True),
]


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_exclude_paths(site: Site, path: str, expected: bool) -> None:
    patterns = ("/health", "/static/*", "/prüfung")
    assert is_excluded(AsgiHead({"path": path}), patterns) is expected

    answer = site(exclude_paths=patterns).get(path)

    assert answer.set_cookies == [] if expected else len(answer.set_cookies) == 1


FETCH = {"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}
FOREIGN_POST = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
PAGE = {"sec_fetch_site": "none", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


def test_a_fetch_is_given_a_cookie_only_where_the_handler_used_the_context(site: Site) -> None:
    assert site.get(**FETCH).set_cookies == []

    site.handler = lambda koala: koala.track("Searched")
    assert len(site.get(**FETCH).set_cookies) == 1

    site.handler = lambda koala: [("x-profile", koala.profile_id or "")]
    answer = site.get(**FETCH)
    assert answer.values("x-profile") == [answer.ko_id]


def test_another_sites_post_is_never_given_a_cookie(site: Site) -> None:
    site.handler = lambda koala: koala.track("Paid")

    assert site(mint="always").request("POST", **FOREIGN_POST).set_cookies == []
    assert site(mint="auto").request("POST", **FOREIGN_POST).set_cookies == []


def test_mint_never_leaves_minting_to_the_pixel(site: Site) -> None:
    answer = site(mint="never").get(**PAGE)

    assert answer.set_cookies == []
    assert answer.values("cache-control") == []


def test_mint_always_gives_even_an_image_a_cookie(site: Site) -> None:
    image: dict[str, str] = {
        "sec_fetch_site": "same-origin",
        "sec_fetch_mode": "no-cors",
        "sec_fetch_dest": "image",
    }

    assert len(site(mint="always").get(**image).set_cookies) == 1


REFRESH: list[tuple[str, dict[str, str], str | None, Literal[0, 1]]] = [
    ("a page", PAGE, None, 1),
    ("a private page", PAGE, "private", 1),
    ("a page that may be shared", PAGE, "public, max-age=60", 0),
    ("a fetch", FETCH, None, 0),
    ("a client that does not say", {}, None, 0),
]


@pytest.mark.parametrize(
    ("headers", "cache", "times"), [row[1:] for row in REFRESH], ids=[row[0] for row in REFRESH]
)
def test_cookie_refresh_sends_the_same_id_again_on_pages(
    site: Site, headers: dict[str, str], cache: str | None, times: int
) -> None:
    sent = "3E6A2C18-3b02-40c4-b8d2-1842c193d3ba"
    site.handler = lambda _: [("cache-control", cache)] if cache else None

    answer = site(cookie_refresh=True).get(cookie=f"ko_id={sent}", **headers)

    assert [value.partition(";")[0] for value in answer.set_cookies] == [f"ko_id={sent}"] * times


def test_behind_a_trusted_proxy_a_post_is_compared_with_the_host_the_visitor_sees(site: Site) -> None:
    headers = {
        "host": "10.0.0.5:8000",
        "x_forwarded_host": "www.example.com",
        "origin": "http://www.example.com",
    }

    assert site.request("POST", **headers).set_cookies == []
    assert len(site(trust_forwarded_host=True).request("POST", **headers).set_cookies) == 1
