"""The cookie's Domain, by the request's host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from koala_middleware.hosts import registrable_domain, same_site

if TYPE_CHECKING:
    from identity.conftest import Site

VECTORS = [
    line.split("\t")
    for line in (Path(__file__).parent / "psl_vectors.tsv").read_text("utf-8").splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize(("host", "expected"), VECTORS, ids=[host for host, _ in VECTORS])
def test_the_public_suffix_lists_own_vectors(host: str, expected: str) -> None:
    """But for raw Unicode, which no browser sends: host-only there."""
    answered = None if expected == "-" or not host.isascii() else expected

    assert registrable_domain(host) == answered


HOSTS = {
    "a subdomain": ("www.example.com", "example.com"),
    "the bare domain": ("example.com", "example.com"),
    "many labels": ("a.b.c.d.example.com", "example.com"),
    "a suffix of two labels": ("app.example.co.uk", "example.co.uk"),
    "a port": ("www.example.com:8000", "example.com"),
    "an empty port": ("www.example.com:", "example.com"),
    "upper case": ("WWW.Example.COM", "example.com"),
    "an underscore": ("my_app.example.com", "example.com"),
    "a name of its own below a private suffix": ("koala.github.io", "koala.github.io"),
    "a page below that": ("www.koala.github.io", "koala.github.io"),
    "another private suffix": ("myapp.herokuapp.com", "myapp.herokuapp.com"),
    "an unknown top-level domain": ("foo.bar.internal", "bar.internal"),
    "a name of a local network": ("my.printer.local", "printer.local"),
    "a name below localhost": ("www.app.localhost", "app.localhost"),
    "punycode": ("www.xn--strae-oqa.de", "xn--strae-oqa.de"),
    "a last label that begins with a digit": ("www.example.1a", "example.1a"),
    "253 characters": ("a." * 121 + "example.com", "example.com"),
    "a bare public suffix": ("co.uk", None),
    "a bare private suffix": ("github.io", None),
    "a wildcard's suffix": ("foo.ck", None),
    "a single label": ("intranet", None),
    "localhost": ("localhost", None),
    "localhost with a port": ("localhost:8000", None),
    "IPv4": ("127.0.0.1", None),
    "IPv4 with a port": ("192.168.1.10:8000", None),
    "IPv4 out of range": ("256.256.256.256", None),
    "IPv4 in hexadecimal": ("127.0.0.0x1", None),
    "a last label that may be a number": ("example.0x", None),
    "IPv6": ("[::1]", None),
    "IPv6 with a port": ("[::1]:8000", None),
    "IPv6 with a name behind": ("[::1].example.com", None),
    "a trailing dot": ("www.example.com.", None),
    "a trailing dot and a port": ("www.example.com.:8000", None),
    "a leading dot": (".example.com", None),
    "an empty label": ("www..example.com", None),
    "nothing": ("", None),
    "a port alone": (":8000", None),
    "254 characters": ("a." * 121 + "examples.com", None),
    "a label of 64 characters": ("a" * 64 + ".example.com", None),
    "a port of six digits": ("www.example.com:123456", None),
    "a port with a sign": ("www.example.com:+80", None),
    "a port of full-width digits": ("www.example.com:\uff18\uff10", None),
    "a user in front": ("ada@www.example.com", None),
    "a path behind": ("www.example.com/x", None),
    "a scheme in front": ("http://www.example.com", None),
    "an attribute smuggled in": ("www.example.com; HttpOnly", None),
    "a blank": ("www.exam ple.com", None),
    "a blank behind": ("www.example.com ", None),
    "a newline behind": ("www.example.com\n", None),
    "a NUL": ("www.example.com\x00", None),
    "quotes": ('"www.example.com"', None),
    "two hosts joined": ("www.example.com,www.example.org", None),
    "raw UTF-8": ("straße.de".encode().decode("latin-1"), None),
    "a wildcard": ("*.example.com", None),
    "a percent sign": ("www.example%2ecom", None),
}


@pytest.mark.parametrize(("host", "expected"), HOSTS.values(), ids=HOSTS.keys())
def test_registrable_domain(host: str, expected: str | None) -> None:
    assert registrable_domain(host) == expected


@pytest.mark.parametrize(("host", "expected"), HOSTS.values(), ids=HOSTS.keys())
def test_the_cookie_has_that_domain_or_none(site: Site, host: str, expected: str | None) -> None:
    answer = site.raw("GET", "/", [(b"host", host.encode("latin-1", "replace"))])

    (cookie,) = answer.set_cookies
    domains = [part for part in cookie.split("; ") if part.lower().startswith("domain")]
    assert domains == ([f"Domain={expected}"] if expected else [])


def test_without_a_host_the_cookie_is_host_only_whatever_the_server_calls_itself(site: Site) -> None:
    (cookie,) = site.raw("GET", "/", []).set_cookies

    assert "Domain" not in cookie


def test_two_host_fields_leave_the_cookie_host_only(site: Site) -> None:
    fields = [(b"host", b"www.example.com"), (b"host", b"www.example.org")]

    (cookie,) = site.raw("GET", "/", fields).set_cookies

    assert "Domain" not in cookie


CHOSEN = {
    "one domain, of this host": ("example.com", "app.example.com", "example.com"),
    "one domain, this very host": ("example.com", "example.com", "example.com"),
    "one domain, of another host": ("example.com", "example.org", None),
    "one domain, whose name this one ends with": ("example.com", "notexample.com", None),
    "one domain, and an address": ("example.com", "127.0.0.1", None),
    "a narrower domain": ("app.example.com", "eu.app.example.com", "app.example.com"),
    "a narrower domain, of a sibling": ("app.example.com", "www.example.com", None),
    "several, the one that covers": (["example.com", "example.org"], "www.example.org", "example.org"),
    "several, none that covers": (["example.com", "example.org"], "www.example.net", None),
    "several, the narrowest": (["example.com", "app.example.com"], "x.app.example.com", "app.example.com"),
    "host-only": (None, "www.example.com", None),
}


@pytest.mark.parametrize(("setting", "host", "expected"), CHOSEN.values(), ids=CHOSEN.keys())
def test_cookie_domain_as_set(site: Site, setting: Any, host: str, expected: str | None) -> None:
    (cookie,) = site(cookie_domain=setting).get(host=host).set_cookies

    assert (f"Domain={expected}" in cookie) if expected else ("Domain" not in cookie)


FORWARDED = {
    "not trusted": (False, "www.example.org", None),
    "not trusted, of the same site": (False, "www.example.com", "example.com"),
    "trusted": (True, "www.example.org", "example.org"),
    "trusted, with a port": (True, "www.example.org:8443", "example.org"),
    "trusted, added to what the visitor sent": (True, "evil.test, www.example.org", "example.org"),
    "trusted, but nonsense": (True, "www.example.org; HttpOnly", None),
    "trusted, but empty": (True, "", "example.com"),
}


@pytest.mark.parametrize(("trusted", "forwarded", "expected"), FORWARDED.values(), ids=FORWARDED.keys())
def test_x_forwarded_host(site: Site, trusted: bool, forwarded: str, expected: str | None) -> None:
    headers = {"host": "inner.example.com", "x_forwarded_host": forwarded}

    (cookie,) = site(trust_forwarded_host=trusted).get(**headers).set_cookies

    assert (f"Domain={expected}" in cookie) if expected else ("Domain" not in cookie)


SITES = {
    "subdomains": ("www.example.com", "app.example.com", True),
    "ports": ("localhost:8000", "localhost:3000", True),
    "case": ("Localhost", "localhost", True),
    "an address with and without a port": ("[::1]:8000", "[::1]", True),
    "two sites of one private suffix": ("a.github.io", "b.github.io", False),
    "two addresses": ("10.0.0.1", "10.0.0.2", False),
    "another site": ("www.example.com", "www.example.org", False),
    "nothing": ("", "www.example.com", False),
}


@pytest.mark.parametrize(("host", "other", "expected"), SITES.values(), ids=SITES.keys())
def test_same_site(host: str, other: str, expected: bool) -> None:
    assert same_site(host, other) is expected


SAME_ORIGIN = {"sec_fetch_site": "same-origin", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
REPLACED = {
    "X-Forwarded-Host": {"x_forwarded_host": "www.example.com"},
    "Forwarded": {"forwarded": 'for=10.0.0.1;host="www.example.com";proto=https'},
    "a Referer of the same origin": {**SAME_ORIGIN, "referer": "https://www.example.com/a"},
    "an Origin of the same origin": {**SAME_ORIGIN, "origin": "https://www.example.com"},
}


@pytest.mark.parametrize("headers", REPLACED.values(), ids=REPLACED.keys())
def test_where_a_proxy_replaces_the_host_the_cookie_is_host_only_and_the_log_names_the_setting(
    site: Site, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A Domain of the backend's name would be refused by the browser: a new visitor with every page."""
    site()
    for _ in range(2):
        (cookie,) = site.request("POST", host="app.prod.internal", **headers).set_cookies
        assert "Domain" not in cookie

    assert caplog.text.count("trust_forwarded_host=True") == 1


NOT_REPLACED = {
    "a Referer of another site": {
        **SAME_ORIGIN,
        "sec_fetch_site": "cross-site",
        "referer": "https://search.test/",
    },
    "a Referer of unknown origin": {"referer": "https://search.test/"},
    "a sibling's X-Forwarded-Host": {"x_forwarded_host": "www.example.com"},
    "a Referer that is none": {**SAME_ORIGIN, "referer": "about:blank"},
}


@pytest.mark.parametrize("headers", NOT_REPLACED.values(), ids=NOT_REPLACED.keys())
def test_a_host_that_nothing_contradicts_is_believed(
    site: Site, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    (cookie,) = site.get(host="app.example.com", **headers).set_cookies

    assert "Domain=example.com" in cookie
    assert not caplog.records
