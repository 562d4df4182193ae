"""Deleting a person on request, with a receipt of what was deleted.

Everything under their email goes: the entries of all browsers while those were theirs, traits, memberships, and raw
requests that mention them. Then the database's pages are overwritten. A browser that was theirs alone is deleted,
too; one that others used as well keeps a period that is nobody's, so that its next entries are not taken for theirs.
"""

from __future__ import annotations

import uuid
from concurrent.futures import Future
from typing import Any

import orjson

from koala_middleware.collector.recording.writer import Writer
from koala_middleware.collector.store.contract import Ledger
from koala_middleware.collector.times import iso, now_ms
from koala_middleware.collector.validation.emails_and_domains import normal_email


def erase(writer: Writer, emails: list[str]) -> Future[dict[str, Any]]:
    """Erase the people with these emails. The future holds the receipt, in the protocol's form."""
    erased: Future[dict[str, Any]] = writer.run(lambda ledger: _erase(ledger, emails))
    writer.run_until_done(_overwrite_deleted)
    return erased


def _overwrite_deleted(ledger: Ledger) -> bool:
    return ledger.overwrite_deleted()


def _erase(ledger: Ledger, emails: list[str]) -> dict[str, Any]:
    known = [normal_email(email) or email for email in emails]
    gone = {email: ledger.erase(email) for email in dict.fromkeys(known)}
    profiles = (profile for each in gone.values() for profile in each["profiles"])
    ledger.delete_requests_naming({*filter(normal_email, known), *profiles})
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
    ledger.save_receipt(str(receipt["id"]), now, orjson.dumps(receipt).decode())
    return receipt
