"""A model of the schedule: a list of entries for each person. Whatever is done, the schedule agrees with it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.examples import examples

from koala_middleware.delivery.schedule.items import Parcel, Waiting
from koala_middleware.delivery.schedule.lanes import Lanes, Mark
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.limits import BULK_LINES, ENTRIES_PER_KIND
from koala_middleware.protocol.subjects import Person

NAMES = st.sampled_from(["ada", "grace", "edsger", "barbara", "alan"])


class ScheduleModel(RuleBasedStateMachine):
    """The model: what waits of each person, in order, and which of it is out."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(linger=8.0)
        self.now = 0.0
        self.waits: dict[str, list[Waiting]] = {}
        self.out: list[Parcel] = []
        self.flushes: list[tuple[Mark, set[int]]] = []
        self.said = 0

    @rule(name=NAMES, entries=st.integers(1, 40))
    def put(self, name: str, entries: int) -> None:
        for _ in range(entries):
            self.said += 1
            item = Waiting("track", b"%d" % self.said, Person(name, f"{name}@example.com"), None, self.now)
            self.lanes.add(item, self.now)
            self.waits.setdefault(name, []).append(item)

    @rule(name=NAMES, age=st.floats(0.0, 50.0))
    def read_from_a_file(self, name: str, age: float) -> None:
        """It is older than all that waits in memory, and belongs before it; but not before what is out."""
        self.said += 1
        came = min([item.came for item in self.waits.get(name, [])], default=self.now) - age
        item = Waiting("track", b"%d" % self.said, Person(name, f"{name}@example.com"), None, came)
        self.lanes.add(item, self.now, late=True)
        out = [one for parcel in self.out if parcel.key == name for one in parcel.items]
        at = len(out)
        while at < len(self.waits.get(name, [])) and self.waits[name][at].came <= came:
            at += 1
        self.waits.setdefault(name, []).insert(at, item)
        for _, ids in self.flushes:
            ids.add(id(item))

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.7, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(most=st.sampled_from([1, 3, BULK_LINES]))
    def claim(self, most: int) -> None:
        due = self.lanes.next_due(self.now)
        parcels = self.lanes.claimed(list(self.lanes.claim(self.now, most)), self.now)
        assert not parcels or due == 0.0
        for parcel in parcels:
            assert 0 < len(parcel.items) <= ENTRIES_PER_KIND
            assert parcel.items == self.waits[parcel.key][: len(parcel.items)], "it is not their oldest"
            assert parcel.key not in {other.key for other in self.out}, "two of one person are out"
            self.out.append(parcel)

    @rule(which=st.integers(0, 4), part=st.floats(0.0, 1.0))
    def settle(self, which: int, part: float) -> None:
        for parcel in self.out[which : which + 1]:
            items = parcel.items[: max(1, round(len(parcel.items) * part))]
            self.gone(items, parcel.key)
            self.lanes.settle(parcel, items, self.now)
            self.out = [one for one in self.out if one.items]

    @rule(which=st.integers(0, 4), pause=st.sampled_from([None, 0.0, 3.0]))
    def put_back(self, which: int, pause: float | None) -> None:
        for parcel in self.out[which : which + 1]:
            self.lanes.put_back(parcel, self.now, None if pause is None else self.now + pause)
            self.returned(parcel)

    @rule(which=st.integers(0, 4))
    def release(self, which: int) -> None:
        for parcel in self.out[which : which + 1]:
            self.lanes.release([parcel])
            self.returned(parcel)

    @rule()
    def recover(self) -> None:
        self.lanes.make_late()

    @rule()
    def drop_oldest(self) -> None:
        item = self.lanes.drop_oldest()
        out = {
            parcel.key for parcel in self.out
        }  # what one of these has left comes after it, whatever its age
        free = {name for name in self.waits if name not in out}
        assert (item is None) == (not free)
        if item is not None:
            assert item is self.not_out(item.subject.key)[0]
            self.gone([item], item.subject.key)

    @rule(name=NAMES)
    def purge(self, name: str) -> None:
        taken = self.lanes.take_out(People.of([f"{name}@example.com"]))
        assert set(map(id, taken)) == set(map(id, self.not_out(name)))
        self.gone(taken, name)

    @rule()
    def flush(self) -> None:
        everything = {id(item) for items in self.waits.values() for item in items}
        self.flushes.append((self.lanes.hurry(), everything))

    @rule()
    def end_flush(self) -> None:
        for mark, _ in self.flushes[:1]:
            self.lanes.relax(mark)
        del self.flushes[:1]

    @rule()
    def clear(self) -> None:
        unanswered, rest = self.lanes.clear()
        assert len(unanswered) + len(rest) == sum(map(len, self.waits.values()))
        self.waits.clear()
        self.out.clear()
        for _, ids in self.flushes:
            ids.clear()

    def returned(self, parcel: Parcel) -> None:
        """What was read from a file meanwhile may be older."""
        self.out.remove(parcel)
        self.waits[parcel.key].sort(key=lambda item: item.came)

    def gone(self, items: list[Waiting], name: str) -> None:
        ids = set(map(id, items))
        self.waits[name] = [item for item in self.waits.get(name, []) if id(item) not in ids]
        if not self.waits[name]:
            del self.waits[name]
        for _, left in self.flushes:
            left.difference_update(ids)

    def not_out(self, name: str) -> list[Waiting]:
        out = {id(item) for parcel in self.out for item in parcel.items}
        return [item for item in self.waits.get(name, []) if id(item) not in out]

    @invariant()
    def the_numbers_agree(self) -> None:
        waiting = [item for items in self.waits.values() for item in items]
        assert self.lanes.entries == len(waiting)
        assert set(map(id, self.lanes.everything())) == set(map(id, waiting))
        assert 0 <= self.lanes.late_entries <= self.lanes.entries
        for mark, left in self.flushes:
            assert mark.left == len(left)

    def teardown(self) -> None:
        """All that waits leaves, each person's in order, and nothing is left of it."""
        for parcel in self.out:
            self.lanes.put_back(parcel, self.now, self.now)
        for parcel in tuple(self.out):
            self.returned(parcel)
        self.lanes.hurry()
        while parcels := self.lanes.claimed(list(self.lanes.claim(self.now + 1000, 1)), self.now + 1000):
            (parcel,) = parcels
            assert parcel.items == self.waits[parcel.key][: len(parcel.items)]
            self.gone(parcel.items, parcel.key)
            self.lanes.settle(parcel, parcel.items, self.now)
        assert self.waits == {}
        assert (len(self.lanes), self.lanes.late_entries, self.lanes._failures, self.lanes._late_keys) == (
            0,
            0,
            {},
            set(),
        )


TestScheduleModel = ScheduleModel.TestCase
TestScheduleModel.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)


def test_an_older_entry_read_while_a_parcel_is_out_leaves_before_it_once_it_is_back() -> None:
    def entry(came: float) -> Waiting:
        return Waiting("track", b"%d" % came, Person("ada"), None, came)

    lanes = Lanes(linger=0.0)
    lanes.add(entry(2.0), 3.0, late=True)
    parcels = lanes.claimed(list(lanes.claim(3.0, 1)), 3.0)
    lanes.add(entry(1.0), 3.0, late=True)
    lanes.release(parcels)
    lanes.add(entry(1.5), 3.0, late=True)
    lanes.hurry()
    [parcel] = lanes.claimed(list(lanes.claim(3.0, 1)), 3.0)
    assert [item.came for item in parcel.items] == [1.0, 1.5, 2.0]
