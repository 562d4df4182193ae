"""What the jobs of the site do, whatever queue runs them; each queue's module makes tasks of these."""

import os
from collections.abc import Callable

from koala_middleware import KoalaClient, koala

client = KoalaClient(consent=lambda head: head.header("x-consent") or "full")


def record() -> None:
    koala.track("Invoice Sent")


def fail() -> None:
    koala.track("Invoice Failed")
    raise RuntimeError("no printer")


def hand_on(enqueue: Callable[[str], object]) -> None:
    enqueue("record")


def look() -> None:
    """Says, under its own name, whether there is a visitor."""
    try:
        seen = koala.profile_id or "nobody's id"
    except RuntimeError:
        seen = "no context"
    with client.person(email=f"{os.environ['QUEUE']}@example.com") as own:
        own.track("Looked", {"seen": seen})
