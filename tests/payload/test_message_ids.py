"""Ids that name an event once and for all: unique across threads and forks, and sorted by time."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

from koala_middleware.payload.message_ids import new_message_id

MANY = 5_000


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    made = UUID(new_message_id())
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_made_one_after_the_other_sort_that_way() -> None:
    ids = [new_message_id() for _ in range(MANY)]
    assert ids == sorted(ids)


def test_threads_never_get_the_same_one() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = threads.map(lambda _: [new_message_id() for _ in range(MANY)], range(8))
        assert len({one for ids in made for one in ids}) == 8 * MANY


def test_a_forked_child_draws_other_numbers_than_its_parent() -> None:
    new_message_id()  # there are numbers left that the child inherits
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "".join(new_message_id()[-16:] for _ in range(100)).encode())
        os._exit(0)
    mine = {new_message_id()[-16:] for _ in range(100)}
    os.waitpid(child, 0)
    theirs = os.read(reading, 100 * 16).decode()
    assert mine.isdisjoint(theirs[start : start + 16] for start in range(0, len(theirs), 16))
