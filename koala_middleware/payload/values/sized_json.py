"""Encodes any value as JSON of limited size."""

from __future__ import annotations

from koala_middleware.payload.values.cleaner import plain
from koala_middleware.payload.values.truncation import ENTRY_BYTES, truncated
from koala_middleware.protocol.encoding import json_bytes


def to_json(value: object) -> bytes:
    """The value as compact JSON in UTF-8, at most 32 KiB. Never raises.

    If it is too large, the largest members are cut or left out first, and a mapping gets `"$truncated": true`.
    """
    try:
        body = json_bytes(value)
    except Exception:  # noqa: BLE001  (a value that JSON does not know)
        value = plain(value)
        body = json_bytes(value)
    return body if len(body) <= ENTRY_BYTES else json_bytes(truncated(plain(value)))
