"""In a real browser: what a page's own requests, and other sites' requests, do to the visitor's id."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import BrowserContext, Page
from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from identity.browser.conftest import Scheme
    from identity.browser.conftest import Site as WebSite

PageOf = Callable[..., Any]

SIX_FETCHES = """async (path) => {
    const answers = Array.from({length: 6}, (_, n) => fetch(`${path}/${n}`).then((answer) => answer.text()));
    return Promise.all(answers);
}"""


def ko_ids(context: BrowserContext) -> list[str]:
    return [cookie["value"] for cookie in context.cookies() if cookie.get("name") == "ko_id"]


def opened(context: BrowserContext, url: str) -> Page:
    page = context.new_page()
    page.goto(url)
    return page


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_page_and_its_six_parallel_fetches_are_one_visitor(
    somebody: BrowserContext, site: WebSite, page_of: PageOf, scheme: Scheme
) -> None:
    site.pages["/"] = page_of("<p>Hello")
    page = opened(somebody, site.url("www.example.com", scheme=scheme))

    answers = page.evaluate(SIX_FETCHES, "/track")

    (ko_id,) = ko_ids(somebody)
    assert answers == [ko_id] * 6
    assert site.delivery.profile_ids == [ko_id] * 6


def test_six_parallel_fetches_without_a_cookie_make_no_visitor(
    somebody: BrowserContext, site: WebSite, page_of: PageOf
) -> None:
    """The page is a static file, so its fetches bring no cookie; and they do not use the context."""
    site.pages["/static/page"] = page_of("<p>Hello")
    page = opened(somebody, site.url("www.example.com", "/static/page", "https"))

    assert page.evaluate(SIX_FETCHES, "/quiet") == ["quiet"] * 6
    assert ko_ids(somebody) == []

    page.goto(site.url("www.example.com", "/", "https"))
    assert ko_ids(somebody) == [page.inner_text("body")]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_six_parallel_fetches_that_are_all_given_an_id_end_with_one(
    somebody: BrowserContext, site: WebSite, page_of: PageOf, scheme: Scheme
) -> None:
    site.pages["/static/page"] = page_of("<p>Hello")
    page = opened(somebody, site.url("www.example.com", "/static/page", scheme))

    answers = page.evaluate(SIX_FETCHES, "/track")

    (ko_id,) = ko_ids(somebody)
    assert ko_id in answers
    assert page.evaluate(SIX_FETCHES, "/track") == [ko_id] * 6
    assert ko_ids(somebody) == [ko_id]


def test_images_scripts_styles_and_frames_of_other_sites_make_no_visitor(
    somebody: BrowserContext, site: WebSite, page_of: PageOf
) -> None:
    elsewhere = site.url("www.example.org", "/track/frame", "https")
    site.pages["/static/page"] = page_of(
        f"<link rel=stylesheet href=/track/style><script src=/track/script></script>"
        f"<img src=/track/image><iframe src={elsewhere}></iframe>"
    )

    page = opened(somebody, site.url("www.example.com", "/static/page", "https"))
    page.wait_for_load_state("load")

    assert {path for _, path in site.seen} >= {
        "/track/style",
        "/track/script",
        "/track/image",
        "/track/frame",
    }
    assert ko_ids(somebody) == []


def test_a_prefetch_makes_no_visitor(somebody: BrowserContext, site: WebSite, page_of: PageOf) -> None:
    site.pages["/static/page"] = page_of("<link rel=prefetch href=/prefetched><p>Hello")
    page = somebody.new_page()

    with page.expect_response("**/prefetched"):
        page.goto(site.url("www.example.com", "/static/page", "https"))

    assert ko_ids(somebody) == []


POSTS: dict[str, tuple[Scheme, Scheme]] = {
    "from https to https": ("https", "https"),
    "from http to http": ("http", "http"),
    "from http to https": ("http", "https"),
}


@pytest.mark.parametrize(("origin", "target"), POSTS.values(), ids=POSTS.keys())
def test_a_post_back_from_another_site_does_not_change_the_id(
    somebody: BrowserContext, site: WebSite, page_of: PageOf, origin: Scheme, target: Scheme
) -> None:
    """As a payment's return or a SAML answer: the browser leaves the Lax cookie at home."""
    back = site.url("www.example.com", "/track/return", target)
    site.pages["/pay"] = page_of(f"<form method=post action={back}><button>Pay</button></form>")
    page = opened(somebody, site.url("www.example.com", "/", target))
    (before,) = ko_ids(somebody)

    page.goto(site.url("secure.pay.test", "/pay", origin))
    with page.expect_navigation(url="**/track/return"):
        page.click("button")

    assert ("POST", "/track/return") in site.seen
    assert page.inner_text("body") != before  # its handler saw a visitor without a cookie,
    ours = [cookie["value"] for cookie in somebody.cookies(back) if cookie.get("name") == "ko_id"]
    assert ours == [before]  # who was not given another one
    assert opened(somebody, site.url("www.example.com", "/", target)).inner_text("body") == before


def test_a_link_from_another_site_keeps_the_id(
    somebody: BrowserContext, site: WebSite, page_of: PageOf
) -> None:
    home = site.url("www.example.com", "/", "https")
    site.pages["/static/news"] = page_of(f"<a href={home}>Shop</a>")
    before = opened(somebody, home).inner_text("body")

    page = opened(somebody, site.url("news.test", "/static/news", "https"))
    with page.expect_navigation(url=home):
        page.click("a")

    assert page.inner_text("body") == before


def test_after_a_log_out_the_browser_brings_the_new_id(somebody: BrowserContext, site: WebSite) -> None:
    def log_out(request: Any) -> Response:
        request.koala.reset()
        return PlainTextResponse(request.koala.profile_id)

    site.pages["/log-out"] = log_out
    page = opened(somebody, site.url("www.example.com"))
    before = page.inner_text("body")

    page.goto(site.url("app.example.com", "/log-out"))
    after = page.inner_text("body")

    assert after != before
    assert ko_ids(somebody) == [after]
    page.goto(site.url("www.example.com"))
    assert page.inner_text("body") == after
