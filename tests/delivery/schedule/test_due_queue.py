"""Turns: whose turn it is next."""

from __future__ import annotations

import math
import tracemalloc

import pytest

from koala_middleware.delivery import gil
from koala_middleware.delivery.schedule.due_queue import Turns


@pytest.fixture
def turns() -> Turns:
    turns = Turns()
    for key, at in [("ada", 2.0), ("grace", 1.0), ("joan", 2.0), ("mary", 3.0)]:
        turns.add(key, at)
    return turns


def test_turns_come_by_their_moments_and_first_come_first(turns: Turns) -> None:
    assert turns.next() == 1.0
    assert turns.passed(2.0) == ["grace", "ada", "joan"]
    assert turns.passed(2.0) == []
    assert turns.next() == 3.0


def test_whose_turn_has_come_is_before_all_others(turns: Turns) -> None:
    turns.due.append("edith")
    assert turns.next() == -math.inf
    assert turns.take_first() == ("edith", -math.inf)
    assert turns.take_first() == ("grace", 1.0)


def test_the_first_can_be_taken_out_until_nobody_is_left(turns: Turns) -> None:
    left = []
    while (turn := turns.take_first()) is not None:
        left.append(turn)
    assert left == [("grace", 1.0), ("ada", 2.0), ("joan", 2.0), ("mary", 3.0)]
    assert turns.next() == math.inf


@pytest.mark.parametrize("taken", [1, 2])
def test_who_gives_a_turn_back_is_first_again(turns: Turns, taken: int) -> None:
    turns.due.append("edith")
    for _ in range(taken):
        turn = turns.take_first()
    assert turn is not None
    turns.give_back(*turn)
    assert turns.take_first() == turn
    assert turns.passed(2.0) == (["grace", "ada", "joan"] if taken == 1 else ["ada", "joan"])


def test_giving_back_takes_no_room(turns: Turns) -> None:
    """A full outbox that drops the oldest does it with each put."""
    tracemalloc.start()
    try:
        for _ in range(10_000):
            turn = turns.take_first()
            assert turn is not None
            turns.give_back(*turn)
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()


def test_turns_of_two_are_joined_by_their_moments(turns: Turns) -> None:
    other = Turns()
    other.due.append("edith")
    other.add("hedy", 1.5)
    turns.join(other)
    assert list(turns.due) == ["edith"]
    assert turns.passed(math.inf) == ["grace", "hedy", "ada", "joan", "mary"]
    assert other.next() == math.inf


def test_long_work_is_paced_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    breaths: list[None] = []
    monkeypatch.setattr(gil, "breathe", lambda: breaths.append(None))
    items = list(range(3 * gil.STRETCH + 1))
    assert list(gil.paced(items)) == items
    assert len(breaths) == 3
