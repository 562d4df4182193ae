"""What delivery costs an entry, counted rather than timed, so that a busy machine says the same as an idle one.

How many microseconds that is, beside peers: `make bench`.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import urllib3
from support.boxes import Box, memory_box
from support.counting import functions_entered

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.outbox.choosing import outbox_for
from koala_middleware.delivery.sending import threads
from koala_middleware.delivery.sending.dispatcher import Dispatcher
from koala_middleware.delivery.transports.choosing import transport_for
from koala_middleware.protocol.batches import Batch

MakeBatch = Callable[..., Batch]
Endpoint = Any  # conftest.py's; reaches tests as a fixture

PEOPLE = 200
# Functions of this package that one entry may enter; each is about 0.1 µs. A put is within the request. A delivery
# takes the interpreter from the app: 3 µs an entry in bulk, and 15 µs beside the 300 µs that a POST takes alone.
TO_PUT = 15
IN_BULK = 30
ALONE = 150
# Bytes in memory for one entry that waits, beside its own but with its visitor's id: the only one of its visitor,
# and one of ten.
BESIDE_ITS_OWN = {1: 420, 10: 215}


@pytest.fixture
def dispatcher(
    config_for: Callable[..., KoalaConfig], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Dispatcher]:
    """One whose threads never start: this test delivers."""
    monkeypatch.setattr(threads, "start_thread", lambda *_: False)
    dispatcher = Dispatcher(config_for(flush_interval=60), outbox_for)
    yield dispatcher
    dispatcher.close(0)


def put_all(dispatcher: Dispatcher, batch: MakeBatch) -> None:
    for person in range(PEOPLE):
        dispatcher.put(batch(f"person-{person}", person))


def test_putting_an_entry_enters_few_functions(dispatcher: Dispatcher, batch: MakeBatch) -> None:
    batches = [batch(f"person-{person}", person) for person in range(PEOPLE)]
    with functions_entered() as entered:
        for one in batches:
            dispatcher.put(one)
    assert entered.total() <= TO_PUT * PEOPLE, entered


@pytest.mark.parametrize("transport", ["http", "curl"])
@pytest.mark.parametrize("bulk", [True, False])
def test_delivering_an_entry_enters_few_functions(
    endpoint: Endpoint, dispatcher: Dispatcher, batch: MakeBatch, bulk: bool
) -> None:
    endpoint.bulk = bulk
    put_all(dispatcher, batch)
    with functions_entered() as entered:
        assert dispatcher.flush(20).complete
    assert len(endpoint.taken) == PEOPLE
    assert entered.total() <= (IN_BULK if bulk else ALONE) * PEOPLE, entered


def test_a_kept_connection_is_used_without_urllib3s_ceremony(
    endpoint: Endpoint, config_for: Callable[..., KoalaConfig], batch: MakeBatch
) -> None:
    with closing(transport_for(config_for())) as transport:
        assert transport.send(batch("ada", 1), 10.0).taken
        with functions_entered(urllib3) as entered:
            assert transport.send(batch("ada", 2), 10.0).taken
    assert not [name for name in entered if name.endswith((".urlopen", "HTTPResponse.__init__"))], entered
    assert len(endpoint.taken) == 2


@pytest.mark.parametrize("each", BESIDE_ITS_OWN)
def test_an_entry_that_waits_takes_little_memory(batch: MakeBatch, each: int) -> None:
    outbox = memory_box(60.0, max_entries=100_000, max_bytes=1 << 30)
    outbox.put(batch("first", "first"))
    # The least of three: threads of other tests may end or begin meanwhile, and their memory counts, too.
    beside = min(beside_its_own(outbox, batch, each, of=person) for person in ("a", "b", "c"))
    assert beside <= BESIDE_ITS_OWN[each]


def beside_its_own(outbox: Box, batch: MakeBatch, each: int, of: str) -> float:
    waiting, own = 2_000, outbox.stats().waiting_bytes
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(waiting):
            outbox.put(batch(f"{of}e6a2c18-3b02-40c4-b8d2-{number // each:012}", number))
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return (used - (outbox.stats().waiting_bytes - own)) / waiting


def test_making_room_copies_nothing_of_what_waits(batch: MakeBatch) -> None:
    """An app that has said thousands of things of one person or company, to an endpoint that is away."""
    many = 2_000
    outbox = memory_box(60.0, max_entries=many, max_bytes=1 << 30, drop_old=True)
    for number in range(many):
        outbox.put(batch("ada", number))
    one_more = batch("ada", many)
    tracemalloc.start()
    try:
        outbox.put(one_more)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert outbox.stats().dropped == {"outbox full": 1}
    assert most < many  # one list of them would be eight bytes each
