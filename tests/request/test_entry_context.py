"""The context of a request's entries, and page views that are recorded without a call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from koala_middleware.client import KoalaClient
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.request_bodies import request_body
from koala_middleware.wsgi import KoalaMiddleware

Bodies = list[dict[str, Any]]
Open = Callable[..., Bodies]


@Request.application
def app(request: Request) -> Response:
    koala = request.environ["koala"]
    match request.path:
        case "/track":
            koala.track("Seen", {"n": 1})
        case "/fail":
            koala.track("Failed")
            return Response("Sorry", status=500)
        case "/page":
            koala.page("Pricing", {"section": "plans"})
        case "/json":
            return Response("{}", mimetype="application/json")
        case "/unchanged":
            return Response(status=304)
        case "/missing":
            return Response("<p>none</p>", status=404, mimetype="text/html")
    return Response("<h1>Hello</h1>", mimetype="text/html")


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens one page of www.example.com and returns the bodies that would leave, in order."""

    def opened(
        path: str, headers: dict[str, str] | None = None, peer: str = "203.0.113.9", **settings: Any
    ) -> Bodies:
        bodies: Bodies = []
        client = KoalaClient(public_api_key="pk_x", **settings)

        def put(batch: Batch) -> None:
            bodies.append(json.loads(request_body(batch)))

        monkeypatch.setattr(client._pipeline.delivery, "put", put)
        browser = Client(KoalaMiddleware(app, client=client))
        browser.get(
            path, base_url="http://www.example.com", headers=headers or {}, environ_base={"REMOTE_ADDR": peer}
        ).close()
        return bodies

    return opened


def only(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    (entry,) = entries
    return entry


BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11)",
    "Accept": "text/html,*/*",
    "Accept-Language": "de-AT,de;q=0.8",
    "Referer": "https://news.example/story?secret=1",
}


def test_an_event_carries_the_page_browser_language_and_campaign_of_its_request(visit: Open) -> None:
    body = only(visit("/track?utm_source=news&utm_campaign=spring&code=42", BROWSER))
    context = only(body["events"])["context"]
    assert context["page"] == {
        "path": "/track",
        "url": "http://www.example.com/track",
        "host": "www.example.com",
        "referrer": "https://news.example/story",
        "title": "",
        "utm": {"source": "news", "campaign": "spring"},
    }
    assert context["userAgent"] == "Mozilla/5.0 (X11)"
    assert context["locale"] == "de-AT"
    assert context["campaign"] == {"source": "news", "name": "spring"}
    assert context["library"]["name"] == "koala_middleware"


def test_the_query_string_stays_home_unless_the_site_wants_it(visit: Open) -> None:
    kept = only(visit("/track?code=42", page_query=True))
    assert only(kept["events"])["context"]["page"]["url"] == "http://www.example.com/track?code=42"


def test_page_records_its_own_title_and_properties_with_the_requests_url(visit: Open) -> None:
    page = only(only(visit("/page"))["page_views"])["page"]
    assert (page["title"], page["section"], page["path"]) == ("Pricing", "plans", "/page")


def test_page_views_records_a_page_a_browser_loads(visit: Open) -> None:
    body = only(visit("/", BROWSER, page_views=True))
    assert only(body["page_views"])["page"]["url"] == "http://www.example.com/"


FETCH = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/unchanged", BROWSER, id="a page that the browser still has"),
        pytest.param("/", BROWSER | FETCH | {"HX-Boosted": "true"}, id="a boosted link of htmx"),
        pytest.param("/", BROWSER | FETCH | {"X-Turbo-Request-Id": "1"}, id="a visit by Turbo Drive"),
        pytest.param(
            "/",
            BROWSER | FETCH | {"Sec-Fetch-Mode": "navigate"},
            id="a page load by the site's service worker",
        ),
    ],
)
def test_page_views_records_what_a_visitor_sees_as_a_page(
    visit: Open, path: str, headers: dict[str, str]
) -> None:
    assert len(only(visit(path, headers, page_views=True))["page_views"]) == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/unchanged", {"Accept": "image/*"}, id="an image that the browser still has"),
        pytest.param("/", BROWSER | {"X-Requested-With": "XMLHttpRequest"}, id="a fetch by jQuery over http"),
        pytest.param(
            "/", BROWSER | FETCH | {"X-Turbo-Request-Id": "1", "Turbo-Frame": "cart"}, id="a frame by Turbo"
        ),
        pytest.param("/json", BROWSER, id="an answer that is no HTML"),
        pytest.param("/missing", BROWSER, id="a page that is not there"),
        pytest.param("/", {"Accept": "*/*"}, id="a client that does not ask for HTML"),
        pytest.param(
            "/", BROWSER | {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}, id="a fetch"
        ),
        pytest.param("/", BROWSER | {"Sec-Purpose": "prefetch"}, id="a prefetch"),
        pytest.param("/health", BROWSER, id="an excluded path"),
    ],
)
def test_page_views_does_not_record(visit: Open, path: str, headers: dict[str, str]) -> None:
    assert visit(path, headers, page_views=True, exclude_paths=["/health"]) == []


def test_the_address_leaves_only_where_the_site_forwards_it(visit: Open) -> None:
    assert "ip" not in only(visit("/track"))
    assert only(visit("/track", forward_ip=True))["ip"] == "203.0.113.9"


def test_behind_a_trusted_proxy_the_address_is_the_one_it_heard_from(visit: Open) -> None:
    settings = {"forward_ip": True, "trusted_proxies": ["10.0.0.0/8"]}
    forwarded = {"X-Forwarded-For": "6.6.6.6, 198.51.100.7"}
    body = only(visit("/track", forwarded, peer="10.1.2.3", **settings))
    assert body["ip"] == "198.51.100.7"


def test_an_anonymous_visitors_address_stays_home(visit: Open) -> None:
    body = only(visit("/track", forward_ip=True, consent=lambda _: "anonymous"))
    assert "ip" not in body


def test_a_link_identifies_its_visitor_only_where_the_site_asks_for_it(visit: Open) -> None:
    link = "/track?ko_e=YWRhQGV4YW1wbGUuY29t&ko_trait_plan=pro"
    assert "email" not in only(visit(link))
    body = only(visit(link, identify_from_link=True))
    assert body["email"] == "ada@example.com"
    assert only(body["identifies"])["traits"] == {"plan": "pro", "email": "ada@example.com"}


def test_a_head_that_cannot_be_read_costs_no_entry_and_no_handler_an_exception(
    visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr("koala_middleware.request.entry_context.entry_context", broken)
    context = only(only(visit("/track"))["events"])["context"]
    assert list(context) == ["library"]
    context = only(only(visit("/fail", on_error="tag"))["events"])["context"]
    assert context["error"] == {"status": 500}
