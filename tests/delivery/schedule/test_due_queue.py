"""Keys by the moment from which on they are due."""

from __future__ import annotations

import math

from koala_middleware.delivery.gil import STRETCH, paced
from koala_middleware.delivery.schedule.due_queue import DueQueue


def queue_of(*places: tuple[str, float]) -> DueQueue:
    queue = DueQueue()
    for key, at in places:
        queue.add(key, at)
    return queue


def test_keys_come_by_their_moments_and_in_order_within_one() -> None:
    queue = queue_of(("b", 2.0), ("a", 1.0), ("c", 2.0))
    assert (queue.next(), queue.passed(0.5)) == (1.0, [])
    assert queue.passed(2.0) == ["a", "b", "c"]
    assert queue.next() == math.inf


def test_a_key_that_is_due_comes_before_all_others() -> None:
    queue = queue_of(("later", 1.0))
    queue.due.append("due")
    assert queue.next() == -math.inf
    assert queue.take_first() == ("due", -math.inf)
    assert queue.take_first() == ("later", 1.0)
    assert queue.take_first() is None


def test_a_key_that_is_given_back_is_first_again() -> None:
    queue = queue_of(("a", 1.0), ("b", 1.0), ("c", 2.0))
    for _ in range(3):
        first = queue.take_first()
        assert first == ("a", 1.0)
        queue.give_back(*first)
    assert queue.passed(9.0) == ["a", "b", "c"]


def test_the_only_key_of_its_moment_can_be_given_back() -> None:
    queue = queue_of(("a", 1.0))
    first = queue.take_first()
    assert first is not None
    queue.give_back(*first)
    assert queue.passed(1.0) == ["a"]


def test_keys_of_two_queues_are_joined_by_their_moments() -> None:
    queue, other = queue_of(("a", 1.0), ("b", 3.0)), queue_of(("c", 2.0), ("d", 1.0))
    other.due.append("due")
    queue.join(other)
    assert list(queue.due) == ["due"]
    assert queue.passed(9.0) == ["a", "d", "c", "b"]


def test_long_work_is_paced_and_the_same() -> None:
    assert list(paced(range(3 * STRETCH))) == list(range(3 * STRETCH))
