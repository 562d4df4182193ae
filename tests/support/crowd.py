"""Many people who say numbered things, and what an endpoint has heard of it: how much, in which order, how
often."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from koala_middleware.delivery import Delivery
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person


class Crowd:
    """`speaks(3)`: each of them says three more things, one batch each.

    Args:
        heard: The bodies that the endpoint has taken so far, in order.
    """

    def __init__(
        self,
        name: str,
        delivery: Delivery,
        heard: Callable[[], Iterable[Mapping[str, Any]]],
        people: int = 20,
    ) -> None:
        self._delivery = delivery
        self._heard = heard
        self._people = [f"{name}-{number}" for number in range(people)]
        self._said = 0

    def speaks(self, times: int) -> None:
        for number in range(self._said, self._said + times):
            for person in self._people:
                entry = {"type": "track", "event": "E", "message_id": f"{person}/{number}", "number": number}
                batch = Batch(Person(profile_id=person), (Entry("track", json.dumps(entry).encode()),))
                self._delivery.put(batch)
        self._said += times

    @property
    def said(self) -> int:
        """By all of them together."""
        return len(self._people) * self._said

    @property
    def missing(self) -> int:
        """How much of what was said was not heard."""
        return self.said - sum(len(set(numbers)) for numbers in self._numbers().values())

    @property
    def doubled(self) -> int:
        """How many events came once more."""
        return sum(len(numbers) - len(set(numbers)) for numbers in self._numbers().values())

    @property
    def out_of_order(self) -> dict[str, list[int]]:
        """Whose events did not come in the order they were said, each counted where it first came."""
        firsts = {person: list(dict.fromkeys(numbers)) for person, numbers in self._numbers().items()}
        return {person: numbers for person, numbers in firsts.items() if numbers != sorted(numbers)}

    def _numbers(self) -> dict[str, list[int]]:
        """By person, as they came; whatever came twice came with the same message id."""
        numbers: dict[str, list[int]] = defaultdict(list)
        people = set(self._people)
        for body in list(self._heard()):
            # A request that a dying worker left half said has no body.
            for event in body["events"] if body.get("profile_id") in people else []:
                assert event["message_id"] == f"{body['profile_id']}/{event['number']}"
                numbers[body["profile_id"]].append(event["number"])
        return numbers
