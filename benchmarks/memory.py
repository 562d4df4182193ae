"""What one entry takes up while it waits in memory, its own bytes included.

python -m benchmarks.memory
"""

from __future__ import annotations

import tracemalloc
from uuid import UUID, uuid4

from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.outbox.base import Desk
from koala_middleware.delivery.outbox.memory import MemoryOutbox
from koala_middleware.delivery.schedule.lanes import Lanes
from koala_middleware.payload.values.sized_json import to_json
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person

ENTRIES = 10_000  # the outbox's default limit


def entry_of(number: int) -> Entry:
    stamped = {"message_id": str(uuid4()), "sent_at": "2026-11-23T09:57:14.776Z"}
    said = {"event": "Signed Up", **stamped, "properties": {"plan": "pro", "seats": number % 100}}
    context = {"library": {"name": "koala_middleware", "version": "0.1.0"}}
    return Entry("track", to_json({"type": "track", **said, "context": context}))


def bytes_per_entry(entries_each: int) -> tuple[float, float]:
    """Bytes of one entry in a full outbox, and of its body alone, where each visitor has this many entries."""
    desk = Desk(Lanes(linger=1.0))
    outbox = MemoryOutbox(desk, max_entries=ENTRIES, max_bytes=10**9, drop_old=False)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(ENTRIES):
            visitor = str(UUID(int=(4 << 76) + (2 << 62) + number // entries_each))
            outbox.put(Batch(Person(visitor), (entry_of(number),)), monotonic())
            outbox.take_in(desk.inbox.popleft(), monotonic())
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return used / ENTRIES, outbox.waiting_bytes() / ENTRIES


def main() -> None:
    for each in (1, 10):
        used, body = bytes_per_entry(each)
        print(f"{used:5.0f} bytes an entry, of which {body:.0f} are its own; {each} of each visitor")


if __name__ == "__main__":
    main()
