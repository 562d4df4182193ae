"""A model of the durable outbox: whatever writers, workers, crashes and damage do, it ends in the model's
state."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.boxes import Box, durable_box
from support.examples import examples

from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.outbox.log import Log
from koala_middleware.delivery.schedule.items import Parcel, Waiting
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.subjects import Person

PROCESSES = st.integers(0, 1)
PERSONS = st.sampled_from(["ada", "grace", "edsger"])


class OutboxModel(RuleBasedStateMachine):
    """Two processes share a directory.

    The model: which ids were accepted and which were damaged on disk. At the end each accepted id was
    delivered or refused, but for the damaged ones; and no damage to the marks of what is done ever loses
    anything.
    """

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.boxes = [self.started(), self.started()]
        self.out: list[list[Parcel]] = [[], []]
        self.accepted: list[str] = []
        self.by_life: dict[tuple[int, int, str], list[str]] = {}
        self.lives = [0, 0]
        self.settled: list[str] = []
        self.damaged: set[str] = set()

    def started(self) -> Box:
        return durable_box(self.directory)

    def log(self, process: int) -> Log:
        log: Log = self.boxes[process].outbox._log  # type: ignore[attr-defined]  # as a crash leaves it
        return log

    def is_ours(self, path: Path) -> bool:
        return any(path.stem in box.outbox._ours for box in self.boxes)  # type: ignore[attr-defined]

    @rule(process=PROCESSES, person=PERSONS, entries=st.integers(1, 40))
    def put(self, process: int, person: str, entries: int) -> None:
        ids = [f"id-{len(self.accepted) + number}-" for number in range(entries)]
        bodies = [json.dumps({"message_id": id_}).encode() for id_ in ids]
        self.boxes[process].put(Batch(Person(person), tuple(Entry("track", body) for body in bodies)))
        self.accepted += ids
        self.by_life.setdefault((process, self.lives[process], person), []).extend(ids)

    @rule(process=PROCESSES)
    def claim(self, process: int) -> None:
        if parcel := self.boxes[process].claim(monotonic() + 60):
            self.out[process].append(parcel)

    @rule(process=PROCESSES, part=st.floats(0, 1))
    def deliver(self, process: int, part: float) -> None:
        """The endpoint takes the first part of the oldest parcel that is out."""
        for parcel in self.out[process][:1]:
            items = parcel.items[: max(1, round(len(parcel.items) * part))]
            self.settled += ids_of(items)
            self.boxes[process].done(parcel, items)
            self.forget_settled(process)

    @rule(process=PROCESSES)
    def refuse(self, process: int) -> None:
        for parcel in self.out[process][:1]:
            self.settled += ids_of(parcel.items[:1])
            self.boxes[process].refuse(parcel, parcel.items[:1], "HTTP 400")
            self.forget_settled(process)

    @rule(process=PROCESSES)
    def put_back(self, process: int) -> None:
        for parcel in self.out[process][:1]:
            now = monotonic()
            self.boxes[process].put_back(parcel, now, at=now)
            self.out[process].remove(parcel)

    @rule(process=PROCESSES)
    def recover(self, process: int) -> None:
        self.boxes[process].lanes.make_late()

    @rule(process=PROCESSES)
    def look_around(self, process: int) -> None:
        box = self.boxes[process]
        box.lanes.relax(box.hurry())

    @rule(process=PROCESSES)
    def tend(self, process: int) -> None:
        self.boxes[process].tend()

    @rule(process=PROCESSES)
    def close(self, process: int) -> None:
        """All is let go of; a later put starts anew."""
        self.boxes[process].close()
        self.out[process] = []
        self.lives[process] += 1

    @rule(process=PROCESSES, torn=st.integers(0, 30))
    def crash(self, process: int, torn: int) -> None:
        """The process dies, perhaps in the middle of a write that nobody was told is done."""
        writing = self.log(process).current
        self.boxes[process].abandon()
        if writing is not None and writing.path.exists():
            with writing.path.open("ab") as file:
                file.write(b"3f6c01aa\ttrack\t1790000000.000\t"[:torn])
        self.boxes[process] = self.started()
        self.out[process] = []
        self.lives[process] += 1

    @rule(process=PROCESSES, at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def damage_an_orphan(self, process: int, at: float, bit: int) -> None:
        """A bit flips in a file after its process died."""
        self.crash(process, 0)
        paths = sorted(self.directory.glob("*.waiting"))
        path = paths[int(at * len(paths))] if paths else None
        if path is None or self.is_ours(path):
            return
        content = bytearray(path.read_bytes())
        if content:
            place = int(at * len(content))
            lines = bytes(content).split(b"\n")
            number = bytes(content[:place]).count(b"\n")
            content[place] ^= 1 << bit
            path.write_bytes(content)
            # A flipped line end joins two lines, so the next may be gone as well.
            self.damaged |= set(ids_in(b"\n".join(lines[number : number + 2])))

    @rule(process=PROCESSES, at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def damage_the_marks(self, process: int, at: float, bit: int) -> None:
        self.crash(process, 0)
        for path in self.directory.glob("*.done"):
            content = bytearray(path.read_bytes())
            if content and not self.is_ours(path):
                content[int(at * len(content))] ^= 1 << bit
                path.write_bytes(content)

    @invariant()
    def the_books_add_up(self) -> None:
        for box in getattr(self, "boxes", []):
            stats = box.stats()
            fates = stats.delivered + stats.waiting + stats.refused + sum(stats.dropped.values())
            assert stats.accepted == fates

    def teardown(self) -> None:
        if not hasattr(self, "boxes"):
            return
        try:
            for process in (0, 1):
                self.crash(process, 0)
            self.drain(self.boxes[0])
            assert set(self.settled) >= set(self.accepted) - self.damaged
            assert set(self.settled) <= set(self.accepted)
            for ids in self.by_life.values():
                known = [id_ for id_ in ids if id_ not in self.damaged]
                first = [self.settled.index(id_) for id_ in known]
                assert first == sorted(first), "a person's entries left out of order"
            assert not list(self.directory.glob("*.waiting")), "delivered entries stay on disk"
        finally:
            shutil.rmtree(self.directory)

    def drain(self, box: Box) -> None:
        mark = box.hurry()
        while mark.left > 0 or box.outbox.behind:
            parcel = box.claim(monotonic() + 60)
            if parcel:
                self.settled += ids_of(parcel.items)
                box.done(parcel)
            else:
                assert mark.left <= 0, "it waits and cannot be claimed"
        box.close()

    def forget_settled(self, process: int) -> None:
        self.out[process] = [parcel for parcel in self.out[process] if parcel.items]


def ids_of(items: Sequence[Waiting]) -> list[str]:
    return [id_ for item in items for id_ in ids_in(item.body)]


def ids_in(text: bytes) -> list[str]:
    return [found.decode() for found in re.findall(rb"id-[0-9]+-", text)]


TestOutboxModel = OutboxModel.TestCase
TestOutboxModel.settings = settings(max_examples=examples(40), stateful_step_count=30, deadline=None)
