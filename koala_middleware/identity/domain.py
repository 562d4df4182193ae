"""The host that a visitor sees, and the Domain of their cookie.

hosts.py knows which domains exist; what else a cookie holds is cookie.py's matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.config.validators import CookieDomain
from koala_middleware.hosts import covers, host_name, registrable_domain, same_site
from koala_middleware.request.head import RequestHead

_FORWARDED_HOST = re.compile(r"""\bhost="?([^\s",;]+)""", re.IGNORECASE)


def visitor_host(head: RequestHead, config: KoalaConfig) -> str:
    """The host in the visitor's address bar, `"www.example.com:8000"`; empty if the request names none."""
    host = head.header("host") or ""
    return (_forwarded_host(head) or host) if config.trust_forwarded_host else host


def _forwarded_host(head: RequestHead) -> str:
    """Each proxy appends to the right; only the last entry can come from a trusted one."""
    return (head.header("x-forwarded-host") or "").rpartition(",")[2].strip()


def is_host_replaced(head: RequestHead, config: KoalaConfig) -> bool:
    """Whether a proxy has put another site's name into Host than the visitor sees, so that Host cannot be believed.

    Anybody can send these headers, so they are only a reason for doubt, never the visitor's host.
    """
    if config.trust_forwarded_host:
        return False
    host = head.header("host") or ""
    return any(not same_site(other, host) for other in _other_hosts(head))


def _other_hosts(head: RequestHead) -> Iterator[str]:
    """The visitor's hosts by other headers than Host."""
    if forwarded := _forwarded_host(head):
        yield forwarded
    yield from _FORWARDED_HOST.findall(head.header("forwarded") or "")
    if head.header("sec-fetch-site") == "same-origin":
        for name in ("origin", "referer"):
            _, found, rest = (head.header(name) or "").partition("://")
            if found:
                yield rest.partition("/")[0]


def cookie_domain(host: str, setting: CookieDomain) -> str | None:
    """The Domain attribute for a host; None for a host-only cookie, and in any doubt.

    Args:
        setting: The `cookie_domain` setting; of several domains, the longest that covers the host.
    """
    if setting == "auto":
        return registrable_domain(host)
    name = host_name(host)
    if setting is None or name is None:
        return None
    domains = (setting,) if isinstance(setting, str) else setting
    return max((domain for domain in domains if covers(domain, name)), key=len, default=None)
