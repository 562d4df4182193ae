"""The host that a visitor sees, and the Domain of their cookie.

hosts.py knows which domains exist; what else a cookie holds is cookie.py's matter.
"""

from __future__ import annotations

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.config.validators import CookieDomain
from koala_middleware.hosts import covers, host_name, registrable_domain
from koala_middleware.request.head import RequestHead


def visitor_host(head: RequestHead, config: KoalaConfig) -> str:
    """The host in the visitor's address bar, `"www.example.com:8000"`; empty if the request names none."""
    host = head.header("host") or ""
    if config.trust_forwarded_host:
        # Each proxy appends to the right; only the last entry comes from the trusted one.
        forwarded = (head.header("x-forwarded-host") or "").rpartition(",")[2].strip()
        return forwarded or host
    return host


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
