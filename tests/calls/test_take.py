"""A context's calls are taken once, however many threads take them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest

from koala_middleware import KoalaClient
from koala_middleware.calls.context import KoalaContext
from koala_middleware.payload.drafts import Call


@pytest.fixture
def context() -> Iterator[KoalaContext]:
    client = KoalaClient(public_api_key="pk_test", delivery="off")
    with client.person(profile_id="ada") as koala:
        yield koala


class Contended(deque[Call]):
    """Looks as it does to a thread that loses a race: there is one more call, and then another has taken it."""

    def __bool__(self) -> bool:
        return True


def test_a_thread_that_comes_too_late_for_one_call_keeps_those_it_has_taken(context: KoalaContext) -> None:
    context._calls = Contended()
    context.track("First")
    context.track("Second")
    assert [call.name for call in context._take()] == ["First", "Second"]
