"""However batches come (late, twice, mixed, in any groups), they end in what coming once and in order ends in.

The model below follows the rules the plain way: one entry after another, in order of time, with a visitor who is
somebody or nobody. The collector gets the same entries as a scrambled mail.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.collecting import DEADLINE
from support.examples import examples
from support.postgresql import Cluster

from koala_middleware.collector.identity import END
from koala_middleware.collector.recording.recorder import record_batches
from koala_middleware.collector.recording.writer import Writer
from koala_middleware.collector.store.contract import Ledger, Reader
from koala_middleware.collector.store.postgres.reader import PostgresReader
from koala_middleware.collector.store.postgres.store import PostgresStore
from koala_middleware.collector.store.records import StoredEntry
from koala_middleware.collector.store.shared_sql.reader import SqlReader
from koala_middleware.collector.store.sqlite.connection import SqliteConnection
from koala_middleware.collector.store.sqlite.ledger import SqliteLedger
from koala_middleware.collector.store.sqlite.store import set_up
from koala_middleware.collector.validation.checked import IncomingBatch, IncomingEntry
from koala_middleware.collector.validation.parsing import parse_person_batch

KEY = "pk_model"
EXAMPLES = examples(int(os.environ.get("KOALA_MODEL_EXAMPLES", "150")))  # thousands when rules are changed
PROFILES = ("laptop", "phone", "desk")
EMAILS = ("ada@example.com", "bob@example.com", "cy@gmail.com")
NOON = 1_700_000_000_000


@dataclass(frozen=True)
class Sent:
    """One entry, as its sender made it. `email` is what the request around it names."""

    number: int
    at: int
    profile: str | None
    email: str | None
    traits: tuple[tuple[str, int], ...] | None  # an identify's; None for a track

    @property
    def message_id(self) -> str:
        return f"00000000-0000-7000-8000-{self.number:012x}"

    @property
    def order(self) -> tuple[int, str]:
        return self.at, self.message_id


@dataclass
class Model:
    """What is known of whom, one entry after another."""

    who: dict[str, str] = field(default_factory=dict)
    anonymous: defaultdict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    timelines: defaultdict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))

    def see(self, sent: Sent) -> None:
        if sent.profile is None:
            assert sent.email is not None
            self.timelines[sent.email].append(sent)
            return
        if sent.email is not None:
            if sent.profile not in self.who:
                self.timelines[sent.email] += self.anonymous.pop(sent.profile, [])
            self.who[sent.profile] = sent.email
        person = self.who.get(sent.profile)
        (self.anonymous[sent.profile] if person is None else self.timelines[person]).append(sent)

    def traits(self, email: str) -> dict[str, int]:
        traits: dict[str, int] = {}
        for sent in sorted(self.timelines[email], key=lambda each: each.order):
            traits.update(dict(sent.traits or ()))
        return traits


def in_order(entries: list[Sent]) -> Model:
    model = Model()
    for sent in sorted(entries, key=lambda each: each.order):
        model.see(sent)
    return model


@dataclass
class Collected:
    """A store's two sides: what collectors write to (one each), and what their pages read from."""

    ledgers: Sequence[Ledger]
    read: Callable[[], Reader]

    def deliver(self, groups: list[list[list[Sent]]]) -> None:
        """Groups in one transaction each, by each ledger in turn."""
        for group, ledger in zip(groups, itertools.cycle(self.ledgers), strict=False):
            with ledger.transaction():
                _record(ledger, group)

    def deliver_at_once(self, groups: list[list[list[Sent]]]) -> None:
        """Each ledger in a thread of its own, the way collectors write."""
        writers = [Writer(partial(_itself, ledger), _ignore, _ignore) for ledger in self.ledgers]
        written = [
            writer.run(partial(_record, group=group))
            for group, writer in zip(groups, itertools.cycle(writers), strict=False)
        ]
        for writer in writers:
            writer.start()
        for each in written:
            each.result(DEADLINE)
        for writer in writers:
            writer.stop()

    @property
    def reader(self) -> Reader:
        return self.read()

    def timelines(self) -> dict[str, list[str]]:
        return {
            person.email: [
                message_id(shown) for shown in reversed(self.reader.timeline(person.person_no, 1_000))
            ]
            for person in self.reader.people(100)
        }

    def traits(self) -> dict[str, dict[str, Any]]:
        return {
            person.email: {trait.name: orjson.loads(trait.value) for trait in person.traits}
            for person in self.reader.people(100)
        }

    def ownerships(self) -> dict[str, list[tuple[int, str]]]:
        """Each profile's turns, as (when, who)."""
        emails = {person.person_no: person.email for person in self.reader.people(100)}
        profiles = {name: self.reader.visitor(name) for name in PROFILES}
        ownerships = {name: self.reader.ownerships(profile) for name, profile in profiles.items() if profile}
        return {
            name: [(ownership.since[0], emails[ownership.person]) for ownership in of_profile]
            for name, of_profile in ownerships.items()
            if of_profile
        }


def turns_in_order(entries: list[Sent]) -> dict[str, list[tuple[int, str]]]:
    """Where each profile is named as somebody new."""
    ownerships: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for sent in sorted(entries, key=lambda each: each.order):
        if (
            sent.profile
            and sent.email
            and (not ownerships[sent.profile] or ownerships[sent.profile][-1][1] != sent.email)
        ):
            ownerships[sent.profile].append((sent.at, sent.email))
    return {profile: of_profile for profile, of_profile in ownerships.items() if of_profile}


def message_id(shown: StoredEntry) -> str:
    return str(orjson.loads(shown.body)["message_id"])


def _record(ledger: Ledger, group: list[list[Sent]]) -> None:
    record_batches(ledger, [(1, as_batch(entries)) for entries in group])


def _itself(ledger: Ledger) -> Ledger:
    return ledger


def _ignore(*_: object) -> None:
    """What a writer tells, when nobody asks."""


Empty = Callable[[], Collected]


@contextmanager
def in_memory() -> Iterator[Collected]:
    """SQLite's."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        set_up(connection, ":memory:")
        yield Collected([SqliteLedger(connection)], lambda: SqlReader(SqliteConnection(connection)))


@contextmanager
def on_a_server(url: str, collectors: int) -> Iterator[Empty]:
    """PostgreSQL's, emptied for each example."""
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(PostgresStore(url))) for _ in range(collectors)]
        for store in stores:
            store.prepare()
        ledgers = [stack.enter_context(closing(store.ledger())) for store in stores]
        connection = stack.enter_context(closing(psycopg.connect(url, autocommit=True)))
        connection.execute("SET search_path = koala")
        rows = connection.execute(
            "SELECT relname FROM pg_stat_user_tables WHERE relname !~ '^(alembic|entry_)'"
        )
        tables = {"entry", *(name for (name,) in rows)}

        def empty() -> Collected:
            connection.execute(";".join(f"DELETE FROM {table}" for table in tables).encode())
            for ledger in ledgers:
                ledger.forget_cached()
            return Collected(ledgers, lambda: PostgresReader(connection, END[0]))

        yield empty


@pytest.fixture(scope="module")
def empty_on_a_server(postgresql: Cluster) -> Iterator[Empty]:
    with on_a_server(postgresql.new_database(), 1) as emptied:
        yield emptied


@pytest.fixture(scope="module")
def empty_for_two(postgresql: Cluster) -> Iterator[Empty]:
    """A database with two collectors."""
    with on_a_server(postgresql.new_database(), 2) as emptied:
        yield emptied


def as_batch(entries: list[Sent]) -> IncomingBatch:
    """One request: entries of one profile and one email, through the door every request comes through."""
    body: dict[str, Any] = {"identifies": [], "events": []}
    body |= {"profile_id": entries[0].profile} if entries[0].profile else {}
    body |= {"email": entries[0].email} if entries[0].email else {}
    for sent in entries:
        times = {"message_id": sent.message_id, "sent_at": sent.at}
        if sent.traits is None:
            body["events"].append({"event": "Clicked", **times})
        else:
            body["identifies"].append({"traits": dict(sent.traits), **times})
    return parse_person_batch(KEY, orjson.dumps(body), NOON + 10**6)


@st.composite
def histories(draw: st.DrawFn) -> list[Sent]:
    """Entries over few milliseconds, profiles and people, so that everything meets everything."""
    entries = []
    for number in range(draw(st.integers(1, 14))):
        profile = draw(st.sampled_from((*PROFILES, None)))
        email = draw(st.sampled_from(EMAILS if profile is None else (None, None, *EMAILS)))
        traits = draw(
            st.none() | st.dictionaries(st.sampled_from(("plan", "name")), st.integers(0, 9), max_size=2)
        )
        at = NOON + draw(st.integers(0, 8))
        entries.append(
            Sent(number, at, profile, email, None if traits is None else tuple(sorted(traits.items())))
        )
    return entries


@st.composite
def mails(draw: st.DrawFn, entries: list[Sent]) -> list[list[list[Sent]]]:
    """The entries as requests, some of them twice, shuffled, in groups of one transaction each."""
    requests: list[list[Sent]] = []
    for sent in draw(st.permutations(entries)):
        last = requests[-1] if requests else []
        together: bool = draw(st.booleans())
        if last and together and (last[0].profile, last[0].email) == (sent.profile, sent.email):
            last.append(sent)
        else:
            requests.append([sent])
    again = draw(st.lists(st.sampled_from(requests), max_size=4))
    unnamed = [
        [nameless(sent) for sent in request]
        for request in draw(st.lists(st.sampled_from(requests), max_size=3))
    ]
    shuffled = draw(
        st.permutations(requests + again + [request for request in unnamed if request[0].profile])
    )
    groups: list[list[list[Sent]]] = [[]]
    for request in shuffled:
        apart: bool = draw(st.booleans())
        if groups[-1] and apart:
            groups.append([])
        groups[-1].append(request)
    return groups


def nameless(sent: Sent) -> Sent:
    """A first try of the same entry, before its sender knew the email and sent it again with it."""
    return Sent(sent.number, sent.at, sent.profile, None, sent.traits)


RELAXED = [HealthCheck.too_slow]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=RELAXED)
@given(st.data())
def test_any_order_delay_and_duplication_ends_in_the_same_people_traits_and_timelines(
    data: st.DataObject,
) -> None:
    entries = data.draw(histories())
    with in_memory() as collected:
        collected.deliver(data.draw(mails(entries)))
        check(collected, entries)


@settings(max_examples=EXAMPLES // 5, deadline=None, suppress_health_check=RELAXED)
@given(st.data())
def test_postgresql_ends_in_the_same_people_traits_and_timelines(
    empty_on_a_server: Empty, data: st.DataObject
) -> None:
    entries = data.draw(histories())
    collected = empty_on_a_server()
    collected.deliver(data.draw(mails(entries)))
    check(collected, entries)


@settings(max_examples=EXAMPLES // 5, deadline=None, suppress_health_check=RELAXED)
@given(st.data())
def test_two_collectors_in_turn_end_in_the_same_people_traits_and_timelines(
    empty_for_two: Empty, data: st.DataObject
) -> None:
    entries = data.draw(histories())
    collected = empty_for_two()
    collected.deliver(data.draw(mails(entries)))
    check(collected, entries)


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=RELAXED)
@given(st.data())
def test_two_collectors_at_once_end_in_the_same_people_traits_and_timelines(
    empty_for_two: Empty, data: st.DataObject
) -> None:
    entries = data.draw(histories())
    collected = empty_for_two()
    collected.deliver_at_once(data.draw(mails(entries)))
    check(collected, entries)


def check(collected: Collected, entries: list[Sent]) -> None:
    """What is stored is what the entries say, one after another."""
    model = in_order(entries)
    expected = {
        email: [sent.message_id for sent in sorted(timeline, key=lambda each: each.order)]
        for email, timeline in model.timelines.items()
    }
    assert collected.timelines() == expected
    assert collected.ownerships() == turns_in_order(entries)
    assert collected.traits() == {email: model.traits(email) for email in model.timelines}
    assert collected.reader.totals().entries == len(entries)
    assert sum(event_counts.total for event_counts in collected.reader.event_counts(0)) == len(entries)
    for person in collected.reader.people(100):
        times = [sent.at for sent in model.timelines[person.email]]
        assert (person.first_seen, person.last_seen) == (min(times), max(times))
        assert person.accounts == ([] if "gmail" in person.email else ["example.com"])


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_two_of_a_persons_browsers_change_hands_in_one_group(store: str, empty_on_a_server: Empty) -> None:
    """Who is summed up anew is so by the turns of the whole group, not by those settled so far."""
    bob, ada = EMAILS[1], EMAILS[0]
    before = [
        Sent(0, NOON, "phone", bob, None),
        Sent(1, NOON, "desk", bob, None),
        Sent(2, NOON + 1, "desk", None, None),
    ]
    group = [Sent(3, NOON, "desk", ada, None), Sent(4, NOON, "phone", ada, (("plan", 0),))]
    with in_memory() if store == "sqlite" else nullcontext(empty_on_a_server()) as collected:
        collected.deliver([[[sent] for sent in before], [[sent] for sent in group]])
        assert collected.traits() == {bob: {}, ada: {"plan": 0}}


@pytest.mark.parametrize("kind", ["identify", "track"])
def test_batches_are_made_of_what_the_model_sends(kind: str) -> None:
    sent = Sent(1, NOON, "laptop", None, () if kind == "identify" else None)
    entries: list[IncomingEntry] = as_batch([sent]).entries
    assert [(entry.kind, entry.sent_at) for entry in entries] == [(kind, NOON)]
