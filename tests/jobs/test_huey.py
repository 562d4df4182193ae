"""What is particular to Huey: a task may be cancelled between its hooks, and its ticket is an argument."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from huey import MemoryHuey  # type: ignore[import-untyped]  # huey brings no types
from huey.exceptions import CancelExecution  # type: ignore[import-untyped]  # as above

from koala_middleware import KoalaClient, koala
from koala_middleware.jobs.huey import propagate_visitors


@pytest.fixture
def client() -> Iterator[KoalaClient]:
    client = KoalaClient(
        public_api_key="pk_huey", signing_key="a signing key for these tests", delivery="off"
    )
    yield client
    client.close(0)


@pytest.fixture
def huey(client: KoalaClient) -> Any:
    huey = MemoryHuey("huey-test")
    propagate_visitors(huey, client)
    return huey


def run_next(huey: Any) -> None:
    huey.execute(huey.dequeue())


def test_a_task_cancelled_before_it_ran_leaves_its_visitor_to_nobody(client: KoalaClient, huey: Any) -> None:
    seen: list[str | None] = []
    cancelling = True

    @huey.task()  # type: ignore[untyped-decorator]  # as above
    def work() -> None:
        seen.append(koala.email)

    @huey.pre_execute()  # type: ignore[untyped-decorator]  # as above
    def cancel(_task: Any) -> None:
        if cancelling:
            raise CancelExecution

    with client.person(email="ada@example.com"):
        work()
    with client.person(email="grace@example.com"):
        work()

    run_next(huey)
    assert not koala
    cancelling = False
    run_next(huey)

    assert seen == ["grace@example.com"]
    assert not koala


def test_a_task_that_is_interrupted_leaves_nothing_behind(client: KoalaClient, huey: Any) -> None:
    @huey.task()  # type: ignore[untyped-decorator]  # as above
    def work() -> None:
        raise KeyboardInterrupt

    with client.person(email="ada@example.com"):
        work()
    run_next(huey)

    assert not koala


def test_a_task_gets_the_arguments_it_was_given_and_no_other(client: KoalaClient, huey: Any) -> None:
    got: list[Any] = []

    @huey.task(retries=1)  # type: ignore[untyped-decorator]  # as above
    def work(*arguments: Any, **named: Any) -> None:
        got.append((arguments, named))
        raise RuntimeError

    with client.person(email="ada@example.com"):
        work(1, two=2)
    run_next(huey)
    run_next(huey)

    assert got == [((1,), {"two": 2})] * 2
