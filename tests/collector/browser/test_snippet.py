"""The tags to paste: they run under a strict policy, and nobody's text in them becomes code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page

from koala_middleware.errors import KoalaConfigError
from koala_middleware.snippet import snippet

if TYPE_CHECKING:
    from collector.browser.conftest import BrowserEndpoint


def test_the_snippet_is_a_queue_and_an_asynchronous_script() -> None:
    queue, script = snippet("pk_1a2b3c", "https://collector.example.com/").splitlines()
    assert queue.startswith("<script>(function(){")
    assert script == '<script async src="https://collector.example.com/v1/pk_1a2b3c/sdk.js"></script>'


def test_templates_do_not_escape_the_snippet_again() -> None:
    made = snippet("pk_1a2b3c", "https://collector.example.com")
    assert made.__html__() == made


def test_an_endpoint_with_markup_in_it_stays_an_address() -> None:
    made = snippet("pk_1a2b3c", 'https://example.com/"><script>alert(1)</script>')
    assert made.count("<script") == 2
    assert (
        'src="https://example.com/&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;/v1/pk_1a2b3c/sdk.js"' in made
    )


def test_a_nonce_with_markup_in_it_stays_an_attribute() -> None:
    made = snippet("pk_1a2b3c", "https://example.com", nonce='"><script>alert(1)</script>')
    assert made.count("<script") == 2


@pytest.mark.parametrize(
    ("key", "endpoint", "message"),
    [
        pytest.param("pk_1/../x", "https://example.com", "public_api_key is 'pk_1/../x', expected", id="key"),
        pytest.param("pk_1", "javascript:alert(1)", "endpoint is 'javascript:alert", id="no http address"),
        pytest.param("sk_1", "https://example.com", "public_api_key is hidden", id="secret key"),
        pytest.param("pk_1", "", "endpoint is '', expected an http", id="no address"),
    ],
)
def test_a_malformed_argument_is_named(key: str, endpoint: str, message: str) -> None:
    with pytest.raises(KoalaConfigError, match=message):
        snippet(key, endpoint)


def test_the_snippet_runs_under_a_policy_that_allows_only_the_nonce(
    page: Page, endpoint: BrowserEndpoint
) -> None:
    endpoint.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'nonce-r4nd0m'; connect-src {endpoint.at('collector.test', '')}"
    )
    endpoint.html = endpoint.snippet(nonce="r4nd0m")
    page.goto(endpoint.at())
    (view,) = endpoint.entries("page_views", 1)
    assert view["page"]["title"] == "Shop"
