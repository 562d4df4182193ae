"""Batches as tests put them: events that are nothing but their message id."""

from __future__ import annotations

import json
from typing import Any

from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person, Subject


def event(message_id: str | int, **more: Any) -> Entry:
    body = {"type": "track", "event": "E", "message_id": str(message_id), **more}
    return Entry("track", json.dumps(body).encode())


def batch(of: str | Subject, *message_ids: str | int, **more: Any) -> Batch:
    """`batch("ada", 1, 2)`: two events of one visitor."""
    subject = Person(profile_id=of) if isinstance(of, str) else of
    return Batch(subject, tuple(event(message_id, **more) for message_id in message_ids))
