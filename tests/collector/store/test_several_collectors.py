"""Several collectors on one PostgreSQL database: they know the same people, and lose and double nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from support.collecting import DEADLINE, KEY, Serve, event
from support.collector_process import AGENT, batch_url, started
from support.postgresql import PASSWORD, Cluster, cluster
from support.waiting import until

from koala_middleware.collector.deletion import retention
from koala_middleware.collector.recording.recorder import record_batches
from koala_middleware.collector.settings import milliseconds
from koala_middleware.collector.store.contract import Ledger
from koala_middleware.collector.store.opening import open_store
from koala_middleware.collector.store.postgres import expiry
from koala_middleware.collector.store.postgres.partitions import (
    Partition,
    partition_for,
    partitions,
    width_for,
)
from koala_middleware.collector.store.postgres.store import PostgresStore
from koala_middleware.collector.times import DAY, now_ms
from koala_middleware.collector.validation.parsing import parse_person_batch

ADA, BOB = "ada@example.com", "bob@example.com"
PEOPLE, SENDERS, BATCHES = 12, 6, 40
Collide = Callable[[Callable[[Ledger], Any], Callable[[Ledger], Any]], Any]


@pytest.fixture
def database(postgresql: Cluster) -> str:
    return postgresql.new_database()


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    """What all collectors of the test share."""
    with closing(PostgresStore(database)) as opened:
        opened.prepare()
        yield opened


@pytest.fixture
def ledgers(store: PostgresStore) -> Iterator[tuple[Ledger, Ledger]]:
    """The writing sides of two collectors; events' names and companies are known to both already."""
    with closing(store.ledger()) as one, closing(store.ledger()) as other:
        names = ("Clicked", "One", "Two", "Three")
        write(one, email="zoe@example.com", identifies=[{}], events=[event(name) for name in names])
        with other.transaction():
            other.erase("zoe@example.com")
        yield one, other


def batch(**body: object) -> Callable[[Ledger], list[int]]:
    """What a collector does with one batch, in the transaction under way."""
    read = parse_person_batch(KEY, json.dumps(body).encode(), now_ms())
    return lambda ledger: record_batches(ledger, [(1, read)])


def write(ledger: Ledger, **body: object) -> None:
    with ledger.transaction():
        batch(**body)(ledger)


@pytest.fixture
def waits(postgresql: Cluster, database: str) -> Callable[[], bool]:
    """Whether somebody's transaction waits for another one."""

    def look() -> bool:
        sql = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        with postgresql.connection(database) as connection:
            return connection.execute(sql).fetchone() is not None

    return look


@pytest.fixture
def collide(ledgers: tuple[Ledger, Ledger], waits: Callable[[], bool]) -> Collide:
    """One collector begins, the other comes in between and has to wait; then both commit."""
    one, other = ledgers

    def in_transaction(work: Callable[[Ledger], Any]) -> Any:
        with other.transaction():
            return work(other)

    def both(first: Callable[[Ledger], Any], second: Callable[[Ledger], Any]) -> Any:
        with ThreadPoolExecutor(1) as pool:
            with one.transaction():
                first(one)
                late = pool.submit(in_transaction, second)
                until(waits)
            return late.result(DEADLINE)

    return both


# Under load


def send(url: str, body: dict[str, Any]) -> None:
    """The way senders do: again, until it is taken."""
    until(lambda: requests.post(batch_url(url), json=body, headers=AGENT, timeout=DEADLINE).ok)


def test_under_load_everybody_is_one_person_and_no_event_is_lost_or_doubled(database: str) -> None:
    """Two processes; every person comes to both, on two browsers, and every third batch is sent twice."""
    with started(database) as (_, one), started(database) as (_, other):

        def sender(number: int) -> list[str]:
            sent = []
            for ownership in range(BATCHES):
                person = (number + ownership) % PEOPLE
                clicked = event("Clicked")
                sent.append(clicked["message_id"])
                identify = {
                    "traits": {"name": f"Person {person}"},
                    "message_id": f"i-{clicked['message_id']}",
                }
                body = {"profile_id": f"browser {person} {ownership % 2}", "events": [clicked]}
                if ownership % 4:
                    body |= {"email": f"p{person}@example.com", "identifies": [identify]}
                for url in (one, other) if ownership % 3 == 0 else ((one, other)[ownership % 2],):
                    send(url, body)
            return sent

        with ThreadPoolExecutor(SENDERS) as pool:
            sent = [message for each in pool.map(sender, range(SENDERS)) for message in each]

    with closing(open_store(database)) as store, store.reader() as reader:
        people, entries = list(reader.all_people()), list(reader.all_entries())
        totals, event_counts = reader.totals(), {each.name: each.total for each in reader.event_counts(0)}
    assert sorted(person.email for person in people) == sorted(f"p{n}@example.com" for n in range(PEOPLE))
    for person in people:
        number = person.email.partition("@")[0].removeprefix("p")
        assert sorted(person.profiles) == [f"browser {number} 0", f"browser {number} 1"]
        assert [(trait.name, trait.value) for trait in person.traits] == [("name", f'"Person {number}"')]
        times = [entry.sent_at for entry in entries if entry.person == person.person_no]
        assert (person.first_seen, person.last_seen) == (min(times), max(times))
    clicks = [json.loads(entry.body)["message_id"] for entry in entries if entry.kind == "track"]
    assert sorted(clicks) == sorted(sent)
    assert (totals.people, totals.profiles, event_counts["Clicked"]) == (PEOPLE, 2 * PEOPLE, len(sent))
    assert totals.entries == len(entries)


# Two that meet


def test_a_new_email_that_comes_to_both_at_once_is_one_person(collide: Collide, store: PostgresStore) -> None:
    collide(batch(profile_id="laptop", email=ADA), batch(profile_id="phone", email=ADA))
    with store.reader() as reader:
        (ada,) = reader.people(10)
    assert sorted(ada.profiles) == ["laptop", "phone"]


def test_entries_sent_while_another_collector_learns_the_name_are_in_the_summary(
    ledgers: tuple[Ledger, Ledger], collide: Collide, store: PostgresStore
) -> None:
    write(ledgers[0], profile_id="laptop", events=[event("One")])
    said = {"traits": {"plan": "pro"}, "sent_at": "2026-01-01T10:00:00Z"}
    collide(batch(profile_id="laptop", identifies=[said]), batch(profile_id="laptop", email=ADA))
    with store.reader() as reader:
        (ada,) = reader.people(10)
        assert [entry.email for entry in reader.entries(0, 10)] == [ADA, ADA, ADA]
    assert [trait.name for trait in ada.traits] == ["plan"]
    assert ada.first_seen == int(datetime(2026, 1, 1, 10, tzinfo=UTC).timestamp()) * 1000


def test_a_message_that_comes_to_both_at_once_counts_once(collide: Collide, store: PostgresStore) -> None:
    clicked = event("Clicked")
    new = collide(batch(email=ADA, events=[clicked]), batch(email=ADA, events=[clicked, event("Two")]))
    assert new == [1]
    with store.reader() as reader:
        assert [(entry.name, entry.email) for entry in reader.entries(0, 10)] == [
            ("Clicked", ADA),
            ("Two", ADA),
        ]


def test_a_person_erased_by_one_collector_is_new_to_the_other(
    ledgers: tuple[Ledger, Ledger], store: PostgresStore
) -> None:
    one, other = ledgers
    write(one, profile_id="laptop", email=ADA, events=[event("One")])
    with other.transaction():
        assert other.erase(ADA)["events"] == 1
    write(one, profile_id="laptop", email=ADA, events=[event("Two")])
    with store.reader() as reader:
        (ada,) = reader.people(10)
        assert [entry.name for entry in reader.timeline(ada.person_no, 10)] == ["Two"]


def test_erasing_waits_for_what_is_just_being_stored_and_takes_it_along(
    ledgers: tuple[Ledger, Ledger], collide: Collide, store: PostgresStore
) -> None:
    write(ledgers[0], profile_id="laptop", email=ADA, events=[event("One")])
    gone = collide(
        batch(profile_id="laptop", events=[event("Two")]),  # nothing in it says that it is hers
        lambda ledger: ledger.erase(ADA),
    )
    assert gone["events"] == 2
    with store.reader() as reader:
        assert (reader.people(10), reader.entries(0, 10)) == ([], [])


def test_a_person_who_comes_back_while_being_erased_is_new(
    ledgers: tuple[Ledger, Ledger], collide: Collide, store: PostgresStore
) -> None:
    write(ledgers[0], email=ADA, events=[event("One")])
    collide(lambda ledger: ledger.erase(ADA), batch(email=ADA, events=[event("Two")]))
    with store.reader() as reader:
        (ada,) = reader.people(10)
        assert [entry.name for entry in reader.timeline(ada.person_no, 10)] == ["Two"]


def test_a_person_who_comes_back_while_expiring_stays(
    ledgers: tuple[Ledger, Ledger], collide: Collide, store: PostgresStore
) -> None:
    long_ago = parse_person_batch(KEY, b'{"email": "%s", "events": [{"event": "One"}]}' % ADA.encode(), 1000)
    with ledgers[0].transaction():
        record_batches(ledgers[0], [(1, long_ago)])
    with ledgers[0].transaction():
        ledgers[0].expire_entries(now_ms() - 90 * DAY)
    late = event("Two", "1970-01-02T00:00:00Z")
    collide(batch(email=ADA, events=[late]), lambda ledger: ledger.expire_people(now_ms() - 90 * DAY, 0))
    with store.reader() as reader:
        (ada,) = reader.people(10)
        assert [entry.name for entry in reader.timeline(ada.person_no, 10)] == ["Two"]


def test_a_reader_that_continues_from_a_number_misses_nothing_that_is_committed_later(
    ledgers: tuple[Ledger, Ledger], store: PostgresStore
) -> None:
    one, other = ledgers
    with store.reader() as reader:
        before = reader.newest_entry_no()
    with one.transaction():
        batch(email=ADA, events=[event("One")])(one)
        write(other, email=BOB, events=[event("Two")])
        with store.reader() as reader:
            assert (reader.entries(before, 10), reader.newest_entry_no()) == ([], before)
    with store.reader() as reader:
        assert [entry.name for entry in reader.entries(before, 10)] == ["One", "Two"]


def test_collectors_that_start_at_once_on_an_empty_database_make_it_once(database: str) -> None:
    stores = [PostgresStore(database) for _ in range(4)]
    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(PostgresStore.prepare, stores))
    for store in stores:
        with store.reader() as reader:
            assert reader.totals().entries == 0
        store.close()


# Pages


def test_the_live_page_of_one_shows_what_came_to_the_other(serve: Serve, database: str) -> None:
    one, other = serve(database=database), serve(database=database)
    with one.get("/live/stream", stream=True) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        assert next(lines) == "retry: 1000"
        for name in ("One", "Two", "Three"):
            other.send(profile_id="laptop", email=ADA, events=[event(name)])
            assert any(name in line for line in lines)


# Trouble


def test_a_collector_killed_in_the_middle_leaves_nothing_and_the_retry_completes_it(
    postgresql: Cluster, database: str, waits: Callable[[], bool]
) -> None:
    body = {"profile_id": "laptop", "email": ADA, "events": [event("One"), event("Two")]}

    def stored() -> int:
        with postgresql.connection(database) as connection:
            (count,) = connection.execute("SELECT count(*) FROM entry").fetchone() or (0,)
            return int(count)

    with started(database) as (process, url), ThreadPoolExecutor(1) as pool:
        with postgresql.connection(database) as connection, connection.transaction():
            connection.execute(
                "LOCK TABLE minutely IN EXCLUSIVE MODE"
            )  # the last that a transaction writes to
            answer = pool.submit(requests.post, batch_url(url), json=body, headers=AGENT, timeout=DEADLINE)
            until(waits)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(requests.ConnectionError):
                answer.result(DEADLINE)
        until(lambda: not waits())
        assert stored() == 0
    with started(database) as (_, url):
        for _ in range(2):
            send(url, body)
    assert stored() == 2


def test_while_the_database_is_away_senders_are_asked_to_come_again_and_then_it_goes_on(
    serve: Serve, own_server: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    collector = serve(database=own_server.new_database())
    clicked = event("Clicked")
    assert collector.send(profile_id="laptop", email=ADA).ok

    own_server.stop("immediate")
    with caplog.at_level(logging.WARNING, logger="koala_middleware.collector"):
        for answered in (
            collector.send(profile_id="laptop", email=ADA, events=[clicked]),
            collector.get("/people"),
            collector.get("/api/entries"),
            collector.get("/healthz"),
        ):
            assert answered.status_code == 503
        assert collector.send(profile_id="laptop", events=[clicked]).headers["retry-after"] == "1"
        assert "koala_collector_database_bytes NaN" in collector.get("/metrics").text

        own_server.start()
        until(lambda: collector.send(profile_id="laptop", events=[clicked]).ok)
    until(lambda: collector.get("/healthz").ok)
    assert collector.timeline(ADA).count("Clicked") == 1
    away, back = (record.getMessage() for record in caplog.records)
    assert away.startswith("1 requests could not be stored, and senders are asked to come again: ")
    assert back == "The database can be written again"
    assert PASSWORD not in caplog.text


@pytest.fixture
def own_server() -> Iterator[Cluster]:
    """A server that may be stopped."""
    with cluster() as running:
        yield running


@pytest.mark.parametrize(
    ("database", "said"),
    [
        (
            "postgresql://koala:hush@127.0.0.1:1/koala",
            "Cannot use the database postgresql://koala:***@127.0.0.1:1/koala",
        ),
        ("mysql://koala:hush@localhost/koala", "database is a mysql:// URL, expected a file's name"),
        ("postgresql://koala:hush@host:port/koala", "database is not a URL that can be read"),
    ],
    ids=["unreachable", "another engine", "no URL"],
)
def test_a_database_that_cannot_be_used_is_said_in_a_sentence_without_the_password(
    database: str, said: str
) -> None:
    with started(database) as (process, _):
        assert process.wait(DEADLINE) != 0
        assert process.stderr is not None
        errors = process.stderr.read()
    assert errors.startswith(f"koala-middleware collector: {said}")
    assert errors.count("\n") == 1, "a sentence, no traceback"
    assert "hush" not in errors


def test_a_wrong_password_is_said_and_not_shown(postgresql: Cluster) -> None:
    with started(postgresql.url("postgres", password="hush")) as (process, _):
        assert process.wait(DEADLINE) != 0
        assert process.stderr is not None
        errors = process.stderr.read()
    assert "password authentication failed" in errors
    assert "hush" not in errors


def test_a_database_of_a_newer_collector_is_left_alone(
    store: PostgresStore, postgresql: Cluster, database: str
) -> None:
    with postgresql.connection(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RuntimeError, match="a newer version of the collector"):
        store.prepare()


def test_a_database_that_cannot_hold_every_name_is_not_used(postgresql: Cluster) -> None:
    with postgresql.connection("postgres") as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with (
        closing(PostgresStore(postgresql.url("latin"))) as store,
        pytest.raises(RuntimeError, match="encoding is LATIN1, expected UTF8"),
    ):
        store.prepare()


def test_nothing_of_postgresql_is_imported_unless_it_is_chosen() -> None:
    code = (
        "import sys; from koala_middleware.collector import create_app; create_app('koala.db'); "
        "print(sorted({'sqlalchemy', 'psycopg', 'alembic'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


# Pieces


@pytest.mark.parametrize(("keep", "days"), [(None, 28), ("1y", 28), ("90d", 7), ("30d", 1), ("2h", 1)])
def test_a_partition_is_about_a_tenth_of_what_is_kept(keep: str | None, days: int) -> None:
    assert width_for(milliseconds(keep)) == days


def test_partitions_of_another_width_are_fitted_in_between() -> None:
    there = [Partition(28, 35), Partition(49, 56)]
    assert partition_for(40, 28, there) == Partition(35, 49)
    assert partition_for(60, 7, there) == Partition(56, 63)
    assert Partition.of(Partition(35, 49).table) == Partition(35, 49)


def test_partitions_are_made_ahead_and_on_demand_and_dropped_whole(
    ledgers: tuple[Ledger, Ledger], database: str, postgresql: Cluster
) -> None:
    def there() -> list[Partition]:
        with postgresql.connection(database) as connection:
            return partitions(connection)

    one, _ = ledgers
    made = there()
    today = now_ms() // DAY
    assert made[0].start <= today < made[-1].end
    assert made[-1].end > today + 1, "there is room for tomorrow"

    long_ago = parse_person_batch(KEY, b'{"profile_id": "laptop", "events": [{"event": "Old"}]}', 1000)
    with one.transaction():
        record_batches(one, [(1, long_ago)])
    assert there() == [Partition(0, 28), *made]
    with one.transaction():
        assert one.expire_entries(now_ms() - 90 * DAY) == 1
    assert there() == made


def test_old_entries_are_deleted_in_chunks_until_all_are_gone(
    serve: Serve, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (expiry, retention):
        monkeypatch.setattr(module, "CHUNK", 2)
    collector = serve(database=database)
    for day in (0, 0, 1, 40, 80):  # three pieces
        body = {
            "profile_id": f"visitor {day}",
            "email": f"{day}@example.com",
            "events": [event("x"), event("x")],
        }
        old = parse_person_batch(KEY, json.dumps(body).encode(), day * DAY + 1)
        work = collector.app.state.collector.writer.run(
            lambda ledger, old=old: record_batches(ledger, [(1, old)])
        )
        work.result(DEADLINE)
    collector.send(profile_id="new", events=[event("New")])

    assert asyncio.run(retention.expire(collector.app.state.collector.writer, now_ms() - 90 * DAY)) == 10

    with collector.app.state.collector.store.reader() as reader:
        assert [entry.name for entry in reader.all_entries()] == ["New"]
        totals = reader.totals()
    assert (totals.entries, totals.people, totals.profiles) == (1, 0, 1)
