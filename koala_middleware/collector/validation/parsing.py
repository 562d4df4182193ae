"""Request bodies, checked: bytes in, one batch out, or one clear refusal.

Strict where it protects (sizes, depth, ids that would merge strangers). Must not know HTTP, people or storage.
"""

from __future__ import annotations

from typing import Any

from koala_middleware.collector.validation.checked import IncomingBatch
from koala_middleware.collector.validation.emails_and_domains import normal_domain
from koala_middleware.collector.validation.entries import ARRAYS, add_top_level_identify, parse_entries
from koala_middleware.collector.validation.fields import batch_email, parse_profile_id, shortened, text_field
from koala_middleware.collector.validation.json_object import parse_object
from koala_middleware.collector.validation.refusal import RequestRefused


def parse_person_batch(key: str, raw: bytes, now: int) -> IncomingBatch:
    """The body of `POST /web/projects/{key}/batch`. `now`: milliseconds since 1970. Raises RequestRefused."""
    return _person_batch(key, parse_object(raw), now)


def parse_account_batch(key: str, raw: bytes, now: int) -> IncomingBatch:
    """The body of `POST /web/projects/{key}/accounts/batch`. Raises RequestRefused."""
    return _account_batch(key, parse_object(raw), now)


def parse_line(key: str, raw: bytes, now: int) -> IncomingBatch:
    """One line of a bulk: a person's batch, or an account's when it names no person. Raises RequestRefused."""
    body = parse_object(raw)
    names_person = body.get("profile_id") or body.get("email")
    if not names_person and (body.get("domain") or body.get("account_id")):
        return _account_batch(key, body, now)
    return _person_batch(key, body, now)


def _person_batch(key: str, body: dict[str, Any], now: int) -> IncomingBatch:
    batch = IncomingBatch(key, now, profile_id=parse_profile_id(body.get("profile_id")))
    batch.email = batch_email(body.get("email"), batch)
    if batch.profile_id is None and batch.email is None:
        raise RequestRefused("profile_id or email is required: whom is this batch about?", "no_person")
    for array in ARRAYS:
        batch.entries.extend(parse_entries(body, array, batch))
    add_top_level_identify(body, batch)
    return batch


def _account_batch(key: str, body: dict[str, Any], now: int) -> IncomingBatch:
    handle = _domain(text_field(body, "domain")) or text_field(body, "account_id")
    if not handle:
        raise RequestRefused(
            "domain or account_id is required: which company is this batch about?", "no_account"
        )
    batch = IncomingBatch(key, now)
    batch.handle = shortened(handle, "account_id", batch)
    for array in ("identifies", "events"):
        batch.entries.extend(parse_entries(body, array, batch))
    return batch


def _domain(stated: str | None) -> str | None:
    """In one spelling. A host of one label, as in a company's own network, is taken as it is."""
    if not stated:
        return None
    domain = normal_domain(stated) or (stated.lower() if stated.isidentifier() else None)
    if domain is None:
        raise RequestRefused('domain is not a domain name: expected one like "example.com"', "bad_domain")
    return domain
