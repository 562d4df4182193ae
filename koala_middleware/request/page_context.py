"""The page of a request: its URL, its referrer, its campaign, and the browser's language.

Pure functions of header values. Senders may write anything into those, so every value is cut, checked and quoted,
and nothing here raises. Must not know settings, cookies or people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from koala_middleware.request.link_identity import without_identity

# Characters; browsers and proxies have similar limits.
LONGEST_PATH = 2_048
LONGEST_QUERY = 4_096
LONGEST_HEADER = 512
_LONGEST_VALUE = 256

_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~"
_QUERY_CHARACTERS = _PATH_CHARACTERS + "?%[]"
# A name, an IPv4 address, or an IPv6 address in brackets; then a port.
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,4}")
_CUT_ESCAPE = re.compile("%[0-9A-Fa-f]?$")
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_UTM_NAMES = ("source", "medium", "campaign", "term", "content")


def page_and_campaign(
    scheme: str, host: str, path: str, query: str, referrer: str, *, with_query: bool = False
) -> dict[str, Any]:
    """`{"page": …, "campaign": …}` without empty ones. Arguments as for `page`."""
    visited = page(scheme, host, path, query, referrer, with_query=with_query)
    return _without_empty(page=visited, campaign=campaign(visited["utm"]))


def browser(user_agent: str, accept_language: str) -> dict[str, Any]:
    """`{"userAgent": …, "locale": …}` without empty ones."""
    return _without_empty(userAgent=_printable(user_agent), locale=locale(accept_language))


def page(
    scheme: str,
    host: str,
    path: str,
    query: str = "",
    referrer: str | None = None,
    *,
    with_query: bool = False,
) -> dict[str, Any]:
    """A page as the browser SDK describes it: `{path, url, host, referrer, title, utm}`.

    Only the browser knows the title, so it is empty. An invalid host leaves `host` and `url` empty.

    Args:
        path: Decoded, as servers give it: `"/café"`; returned as in a browser's address bar, `"/caf%C3%A9"`.
        query: As sent, still quoted.
        referrer: The Referer header.
        with_query: Whether `url` and `referrer` keep their query, without parameters that identify the visitor.
    """
    host = host.lower()
    if _HOST.fullmatch(host) is None:
        host = ""
    path = _quoted(path or "/", LONGEST_PATH, _PATH_CHARACTERS)
    url = f"{_SCHEMES.get(scheme, 'https')}://{host}{path}" if host else ""
    if url and with_query and (kept := _quoted(without_identity(query), LONGEST_QUERY, _QUERY_CHARACTERS)):
        url = f"{url}?{kept}"
    return {
        "path": path,
        "url": url,
        "host": host,
        "referrer": _referrer(referrer, with_query=with_query),
        "title": "",
        "utm": utm(query),
    }


def utm(query: str) -> dict[str, str]:
    """The query's campaign parameters without their `utm_`: `{"source": "news", "campaign": "spring"}`.

    Without `utm_id`, where links carry an email.
    """
    if "utm_" not in query:
        return {}
    given = dict(parse_qsl(query[:LONGEST_QUERY], errors="replace"))
    found = {name: _printable(given.get(f"utm_{name}"))[:_LONGEST_VALUE] for name in _UTM_NAMES}
    return {name: value for name, value in found.items() if value}


def campaign(utm: Mapping[str, str]) -> dict[str, str]:
    """The same as an entry's context spells it: the campaign's own name is its `name`."""
    return {"name" if name == "campaign" else name: value for name, value in utm.items()}


def locale(accept_language: str | None) -> str | None:
    """The visitor's preferred language, `"en-GB"`; None if the header names none."""
    return _best_language((accept_language or "")[:LONGEST_HEADER])


@lru_cache(maxsize=256)  # browsers send the same few
def _best_language(header: str) -> str | None:
    # Loaded by cookie.preload(): importing the package loads no framework.
    from werkzeug.datastructures import LanguageAccept  # noqa: PLC0415
    from werkzeug.http import parse_accept_header  # noqa: PLC0415

    accepted = parse_accept_header(header, LanguageAccept)
    wanted = (language for language, quality in accepted if quality > 0 and _LANGUAGE.fullmatch(language))
    return next(wanted, None)


def _referrer(header: str | None, *, with_query: bool) -> str:
    """The Referer if it is a web page's URL, without fragment, password and, by default, query."""
    try:
        parts = urlsplit((header or "")[:LONGEST_QUERY])
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2].lower()
    if parts.scheme not in _SCHEMES or _HOST.fullmatch(host) is None:
        return ""
    path = _quoted(parts.path, LONGEST_PATH, _PATH_CHARACTERS + "%")
    query = _quoted(without_identity(parts.query), LONGEST_QUERY, _QUERY_CHARACTERS) if with_query else ""
    return urlunsplit((parts.scheme, host, path, query, ""))


def _quoted(text: str, longest: int, safe: str) -> str:
    quoted = quote(text[:longest], safe=safe, errors="replace")[:longest]
    return _CUT_ESCAPE.sub("", quoted)


def _printable(header: str | None) -> str:
    """A header's text without control characters."""
    text = (header or "")[:LONGEST_HEADER]
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def _without_empty(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
