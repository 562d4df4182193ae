"""In a real browser: one ko_id on all hosts of a site, in the very cookie the pixel writes, nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, Page
from support.chromium import somebodys_browser

if TYPE_CHECKING:
    from identity.browser.conftest import Scheme
    from identity.browser.conftest import Site as WebSite

DOTTED = "a trailing dot"
# What is told apart: the hosts of one site, in the order of a visit, and the Domain that all of them share.
SITES: dict[str, tuple[list[str], str | None]] = {
    "two subdomains": (["www.example.com", "app.example.com"], "example.com"),
    "the bare domain, then a subdomain": (["example.net", "www.example.net"], "example.net"),
    "a deep subdomain": (["a.b.c.d.example.org", "www.example.org"], "example.org"),
    "a suffix of two labels": (["www.example.co.uk", "app.example.co.uk"], "example.co.uk"),
    "another suffix of two labels": (["www.example.com.au", "app.example.com.au"], "example.com.au"),
    "a suffix of three labels": (["www.shop.ide.kyoto.jp", "app.shop.ide.kyoto.jp"], "shop.ide.kyoto.jp"),
    "a private suffix": (["koala.github.io", "www.koala.github.io"], "koala.github.io"),
    "its neighbour": (["wombat.github.io", "app.wombat.github.io"], "wombat.github.io"),
    "another private suffix": (["www.myapp.herokuapp.com", "app.myapp.herokuapp.com"], "myapp.herokuapp.com"),
    "a private suffix of many labels": (
        ["www.bucket.s3.eu-west-1.amazonaws.com", "app.bucket.s3.eu-west-1.amazonaws.com"],
        "bucket.s3.eu-west-1.amazonaws.com",
    ),
    "a wildcard rule": (["www.shop.foo.ck", "app.shop.foo.ck"], "shop.foo.ck"),
    "a wildcard rule below a suffix": (["www.shop.c.kobe.jp", "app.shop.c.kobe.jp"], "shop.c.kobe.jp"),
    "an exception rule": (["shop.www.ck", "app.www.ck"], "www.ck"),
    "an exception rule below a suffix": (["www.city.kobe.jp", "app.city.kobe.jp"], "city.kobe.jp"),
    "a bare public suffix": (["co.uk"], None),
    "a bare private suffix": (["github.io"], None),
    "a bare wildcard suffix": (["foo.ck"], None),
    "names below localhost": (["www.app.localhost", "admin.app.localhost"], "app.localhost"),
    "localhost": (["localhost"], None),
    "a single label": (["intranet"], None),
    "IPv4": (["127.0.0.1"], None),
    "another IPv4": (["192.168.1.10"], None),
    "IPv6": (["[::1]"], None),
    "upper case": (["WWW.EXAMPLE.SE", "App.Example.SE"], "example.se"),
    "an underscore": (["my_app.example.dk", "www.example.dk"], "example.dk"),
    "an unknown top-level domain": (["www.bar.internal", "app.bar.internal"], "bar.internal"),
    "a local network": (["www.printer.local", "my.printer.local"], "printer.local"),
    "a test domain": (["www.shop.test", "app.shop.test"], "shop.test"),
    "an IDN": (["www.straße.de", "app.straße.de"], "xn--strae-oqa.de"),
    "an IDN's look-alike": (["www.strasse.de", "app.strasse.de"], "strasse.de"),
    DOTTED: (["www.example.fi."], None),
    "digits": (["www.123.no", "app.123.no"], "123.no"),
}

# As the pixel finds its Domain: the widest that this browser lets this page set, tried from two labels up;
# none on addresses and single labels. It then writes its id there.
PIXEL = """() => {
    const host = location.hostname, labels = host.split('.');
    const holds = (cookie) => document.cookie.split('; ').includes(cookie);
    const widest = () => {
        if (labels.length < 2 || host.startsWith('[') || /^[0-9.]+$/.test(host)) return null;
        for (let from = labels.length - 2; from >= 0; from--) {
            const domain = labels.slice(from).join('.');
            document.cookie = `ko_probe=1; path=/; domain=${domain}`;
            const taken = holds('ko_probe=1');
            document.cookie = `ko_probe=; path=/; max-age=0; domain=${domain}`;
            if (taken) return domain;
        }
        return null;
    };
    const domain = widest();
    const found = document.cookie.split('; ').filter((cookie) => cookie.startsWith('ko_id='));
    const attribute = domain ? `; domain=${domain}` : '';
    document.cookie = `${found[0]}; path=/; max-age=31536000; samesite=lax${attribute}`;
    const after = document.cookie.split('; ').filter((cookie) => cookie.startsWith('ko_id='));
    return {domain, found, after};
}"""


@dataclass
class Visit:
    """What one page load showed: the id its handler saw, and what the pixel's way finds and leaves."""

    host: str
    answered: str
    pixel: dict[str, Any]


def visit(page: Page, site: WebSite, host: str, scheme: Scheme) -> Visit:
    page.goto(site.url(host, scheme=scheme))
    return Visit(host, page.inner_text("body"), page.evaluate(PIXEL))


@pytest.fixture(scope="module", params=["http", "https"])
def journey(
    request: pytest.FixtureRequest, chromium: Browser, shared_site: WebSite
) -> Iterator[dict[str, tuple[list[Visit], list[Any]]]]:
    """One browser goes to every host of every site, and then to the first one again.

    Of each site: its visits, and the ko_id cookies it left in the browser.
    """
    found = {}
    with somebodys_browser(chromium) as context:
        page = context.new_page()
        for name, (hosts, _) in SITES.items():
            before = _ko_ids(context.cookies())
            visits = [visit(page, shared_site, host, request.param) for host in [*hosts, hosts[0]]]
            found[name] = visits, [cookie for cookie in _ko_ids(context.cookies()) if cookie not in before]
        yield found


def _ko_ids(cookies: list[Any]) -> list[tuple[str, str, str]]:
    return [
        (cookie["value"], cookie["domain"], cookie["path"]) for cookie in cookies if cookie["name"] == "ko_id"
    ]


@pytest.mark.parametrize("name", SITES)
def test_all_hosts_of_a_site_share_one_id_in_one_cookie(journey: Any, name: str) -> None:
    hosts, domain = SITES[name]
    visits, cookies = journey[name]
    ids = {visit.answered for visit in visits}

    (profile_id,) = ids
    if name == DOTTED:  # the pixel puts the same id on `example.fi.` too: two cookies, one person
        cookies = [cookie for cookie in cookies if cookie[1] != ".example.fi."]
    on = f".{domain}" if domain else hosts[0].lower()
    assert cookies == [(profile_id, on, "/")]


@pytest.mark.parametrize("name", SITES)
def test_the_pixel_finds_that_id_and_writes_that_very_cookie(journey: Any, name: str) -> None:
    _, domain = SITES[name]
    visits, _ = journey[name]

    for visit in visits:
        assert set(visit.pixel["found"]) == {f"ko_id={visit.answered}"}
        assert len(visit.pixel["after"]) == (2 if name == DOTTED else 1)
        if domain is not None:
            assert visit.pixel["domain"] == domain


def test_no_two_sites_share_an_id(journey: Any) -> None:
    ids = Counter(visits[0].answered for visits, _ in journey.values())

    assert len(ids) == len(SITES) >= 25
