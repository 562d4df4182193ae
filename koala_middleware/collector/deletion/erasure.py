"""Forgetting a person for good, with a receipt of what went.

Everything under their email goes: entries of all browsers while those were theirs, traits, places in companies, raw
requests that mention them; then the pages it stood on are overwritten and the log emptied. A browser that
was theirs alone is forgotten, too. One that others used as well keeps a turn that is nobody's, so that what
comes from it next is not taken for the others'.
"""

from __future__ import annotations

import uuid
from concurrent.futures import Future
from typing import Any

import orjson

from koala_middleware.collector.recording.writer import Writer, now_ms
from koala_middleware.collector.store.contract import ForgettingLedger
from koala_middleware.collector.times import iso
from koala_middleware.collector.validation.emails_and_domains import normal_email


def erase(writer: Writer, emails: list[str]) -> Future[dict[str, Any]]:
    """Erase whoever is known under these emails. The future holds the receipt, as the protocol shapes it."""
    erased: Future[dict[str, Any]] = writer.run(lambda ledger: _erase(ledger, emails))
    writer.run_until_done(_overwrite_deleted)
    return erased


def _overwrite_deleted(ledger: ForgettingLedger) -> bool:
    return ledger.overwrite_deleted()


def _erase(ledger: ForgettingLedger, emails: list[str]) -> dict[str, Any]:
    known = [normal_email(email) or email for email in emails]
    gone = {email: ledger.erase(email) for email in dict.fromkeys(known)}
    profiles = (profile for each in gone.values() for profile in each["profiles"])
    ledger.forget_requests({*filter(normal_email, known), *profiles})
    now = now_ms()
    receipt = {
        "id": str(uuid.uuid4()),
        "status": "completed",
        "input": known,
        "deleted_receipt": [{"email": email, **went} for email, went in gone.items()],
        "created_at": iso(now),
        "updated_at": iso(now),
        "messages": [],
    }
    ledger.keep_receipt(str(receipt["id"]), now, orjson.dumps(receipt).decode())
    return receipt
