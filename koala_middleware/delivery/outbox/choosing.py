"""Chooses the outbox and its directory by the settings. Must not know how an outbox works."""

from __future__ import annotations

from pathlib import Path

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.outbox.base import Outbox, SharedState
from koala_middleware.delivery.outbox.durable import DurableOutbox
from koala_middleware.delivery.outbox.memory import MemoryOutbox

MEMORY_BYTES = 16 * 1024 * 1024
DISK_BYTES = 256 * 1024 * 1024


def outbox_for(shared: SharedState, config: KoalaConfig) -> Outbox:
    drop_old = config.overflow == "drop-old"
    if config.outbox is None:
        return MemoryOutbox(
            shared,
            max_entries=config.outbox_max_entries,
            max_bytes=config.outbox_max_bytes or MEMORY_BYTES,
            drop_old=drop_old,
        )
    return DurableOutbox(
        shared,
        directory_for(config.outbox, config.public_api_key),
        max_entries=config.outbox_max_entries,
        max_bytes=config.outbox_max_bytes or DISK_BYTES,
        memory_bytes=min(config.outbox_max_bytes or MEMORY_BYTES, MEMORY_BYTES),
        max_age=config.outbox_max_age,
        drop_old=drop_old,
        sync=config.outbox_fsync,
        hands_over=config.delivery == "relay",
    )


def directory_for(outbox: str, public_api_key: str) -> Path:
    """The directory of one key. Entries of different keys never mix."""
    return Path(outbox) / f"key-{public_api_key}"
