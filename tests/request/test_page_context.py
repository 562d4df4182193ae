"""The page of a request, in the browser SDK's shape."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from koala_middleware.payload.values.cleaner import plain
from koala_middleware.request.entry_context import entry_context
from koala_middleware.request.head import AsgiHead
from koala_middleware.request.page_context import campaign, locale, page, utm


def head(query: str = "", **headers: str) -> AsgiHead:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return AsgiHead(
        {"scheme": "https", "path": "/pricing", "query_string": query.encode(), "headers": fields}
    )


def told(request: AsgiHead, host: str, *, with_query: bool = False) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(entry_context(request, host, plain, with_query=with_query))
    assert about.pop("library")["name"] == "koala_middleware"
    return about


def test_a_page_has_the_browser_sdks_shape() -> None:
    assert page("https", "www.example.com", "/pricing", "utm_source=news&a=1", "https://www.google.com/") == {
        "path": "/pricing",
        "url": "https://www.example.com/pricing",
        "host": "www.example.com",
        "referrer": "https://www.google.com/",
        "title": "",
        "utm": {"source": "news"},
    }


def test_a_request_tells_its_page_browser_language_and_campaign() -> None:
    request = head(
        "utm_campaign=spring&utm_source=news", user_agent="Firefox/140", accept_language="de-AT, en;q=0.5"
    )
    assert told(request, "example.com") == {
        "page": {
            "path": "/pricing",
            "url": "https://example.com/pricing",
            "host": "example.com",
            "referrer": "",
            "title": "",
            "utm": {"source": "news", "campaign": "spring"},
        },
        "userAgent": "Firefox/140",
        "locale": "de-AT",
        "campaign": {"name": "spring", "source": "news"},
    }


def test_what_a_request_does_not_tell_is_left_out() -> None:
    assert set(told(head(), "example.com")) == {"page"}


def test_the_cached_page_of_one_request_never_shows_in_another() -> None:
    heads = [
        head(query, user_agent=browser, accept_language=language, referer=referrer)
        for query in ("", "a=1", "utm_source=news", "utm_source=mail")
        for browser in ("Firefox/140", "Chrome/156")
        for language in ("de", "en")
        for referrer in ("https://a.example/?x=1", "https://b.example/")
    ]
    first, again = ([told(each, host) for each in heads for host in ("a.com", "b.com")] for _ in "12")
    assert first == again
    assert len({json.dumps(each) for each in first}) == len(first) - 16  # "a=1" tells no more than no query


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        pytest.param("", "/", id="none"),
        pytest.param("/café au lait", "/caf%C3%A9%20au%20lait", id="as the browser's address bar has it"),
        pytest.param("/a?b#c", "/a%3Fb%23c", id="no query or fragment out of a path"),
        pytest.param("/a\r\nb", "/a%0D%0Ab", id="no line breaks"),
        pytest.param("/\ud800", "/%3F", id="a lone surrogate"),
    ],
)
def test_a_path_is_quoted(path: str, seen: str) -> None:
    told = page("https", "example.com", path)
    assert (told["path"], told["url"]) == (seen, f"https://example.com{seen}")


def test_a_path_is_cut_between_its_characters() -> None:
    path = page("https", "example.com", "/" + "é" * 5_000)["path"]
    assert len(path) <= 2_048
    assert re.fullmatch(r"/(?:%C3|%A9)+", path)


@pytest.mark.parametrize(
    ("scheme", "host", "url"),
    [
        ("http", "localhost:8000", "http://localhost:8000/"),
        ("https", "Example.COM", "https://example.com/"),
        ("https", "[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
        ("wss", "example.com", "https://example.com/"),
        ("ws", "example.com", "http://example.com/"),
        ("javascript", "example.com", "https://example.com/"),
        ("https", "", ""),
        ("https", "a b", ""),
        ("https", "example.com/evil", ""),
        ("https", "user@example.com", ""),
        ("https", "x" * 5_000, ""),
    ],
)
def test_a_host_is_whatever_its_sender_likes_and_is_checked(scheme: str, host: str, url: str) -> None:
    told = page(scheme, host, "/")
    assert told["url"] == url
    assert told["host"] == (host.lower() if url else "")


def test_urls_come_without_their_query_unless_the_site_wants_it() -> None:
    parts = ("https", "example.com", "/search", "q=shoes&utm_source=news", "https://example.com/?q=hats")
    assert page(*parts)["url"] == "https://example.com/search"
    assert page(*parts)["referrer"] == "https://example.com/"
    kept = page(*parts, with_query=True)
    assert kept["url"] == "https://example.com/search?q=shoes&utm_source=news"
    assert kept["referrer"] == "https://example.com/?q=hats"


def test_urls_with_their_query_do_not_identify_the_visitor() -> None:
    query = "a=1&ko_e=ada%40example.com&utm_id=YWRh&ko_trait_name=Ada&%6Bo_e=x&b=%20<>"
    kept = page("https", "example.com", "/", query, f"https://example.com/?{query}", with_query=True)
    assert kept["url"] == "https://example.com/?a=1&b=%20%3C%3E"
    assert kept["referrer"] == kept["url"]


@pytest.mark.parametrize(
    ("header", "referrer"),
    [
        (None, ""),
        ("", ""),
        ("about:blank", ""),
        ("android-app://com.slack/", ""),
        ("javascript:alert(1)", ""),
        ("/relative", ""),
        ("http://[", ""),
        ("http://exa mple.com/", ""),
        ("https://ada:secret@example.com/a#part", "https://example.com/a"),
        ("https://Example.com/caf%C3%A9", "https://example.com/caf%C3%A9"),
        ("http://localhost:3000", "http://localhost:3000"),
    ],
)
def test_a_referrer_is_a_web_pages_address_or_nothing(header: str | None, referrer: str) -> None:
    assert page("https", "example.com", "/", referrer=header)["referrer"] == referrer


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", {}),
        ("q=utm_source", {}),
        (
            "utm_source=a&utm_medium=b&utm_campaign=c&utm_term=d&utm_content=e",
            {"source": "a", "medium": "b", "campaign": "c", "term": "d", "content": "e"},
        ),
        ("utm_source=spring+sale%21", {"source": "spring sale!"}),
        ("utm_source=a&utm_source=b", {"source": "b"}),
        ("utm_source=", {}),
        ("utm_source=a%0Ab", {"source": "ab"}),
        ("utm_source=%FF", {"source": "\ufffd"}),
        ("utm_id=YWRhQGV4YW1wbGUuY29t", {}),
        ("utm_source=" + "x" * 10_000, {"source": "x" * 256}),
    ],
)
def test_utm_is_parsed_from_the_query(query: str, said: dict[str, str]) -> None:
    assert utm(query) == said


def test_a_campaigns_own_name_is_its_name() -> None:
    assert campaign({"source": "news", "campaign": "spring"}) == {"source": "news", "name": "spring"}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, None),
        ("", None),
        ("en-GB,en;q=0.9", "en-GB"),
        ("en;q=0.5, de", "de"),
        ("*", None),
        ("*, fr;q=0.1", "fr"),
        ("en;q=0", None),
        ("zh-Hant-TW", "zh-Hant-TW"),
        ("<script>", None),
        ("en;q=nonsense, de", "de"),
    ],
)
def test_the_locale_is_the_language_liked_best(header: str | None, language: str | None) -> None:
    assert locale(header) == language


def test_a_headers_name_is_taken_in_any_case_and_several_fields_are_joined() -> None:
    fields = [(b"Sec-GPC", b"1"), (b"accept-language", b"en"), (b"Accept-Language", b"de")]
    request = AsgiHead({"path": "/", "headers": fields})
    assert request.header("sec-gpc") == "1"
    assert request.header("ACCEPT-LANGUAGE") == "en, de"


anything = st.text(st.characters(), max_size=60)


@given(st.tuples(*[anything] * 6), st.booleans())
@settings(max_examples=examples(300), deadline=None)
def test_nothing_that_is_sent_raises_or_leaves_odd_characters(
    sent: tuple[str, ...], with_query: bool
) -> None:
    host, path, query, *fields = sent
    names = (b"referer", b"user-agent", b"accept-language")
    request = AsgiHead(
        {
            "scheme": "https",
            "path": path,
            "query_string": query.encode("utf-8", "surrogatepass"),
            "headers": [
                (name, field.encode("utf-8", "surrogatepass"))
                for name, field in zip(names, fields, strict=True)
            ],
        }
    )
    page = told(request, host, with_query=with_query)["page"]
    for text in (page["url"], page["path"], page["referrer"], page["host"]):
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text
