"""The promise of the counters: whatever was accepted is delivered, waiting, refused or dropped."""

from __future__ import annotations

from typing import Protocol

from koala_middleware.delivery.report import DeliveryStats


class Counting(Protocol):
    def stats(self) -> DeliveryStats: ...


def adds_up(counting: Counting) -> bool:
    stats = counting.stats()
    return stats.accepted == stats.delivered + stats.waiting + stats.refused + sum(stats.dropped.values())
