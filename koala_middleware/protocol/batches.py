"""What goes over the wire: entries, the batches they form, and the request bodies batches become.

Each entry is encoded already, so a batch is only joined bytes and no entry can spoil another.
Must not know where an entry came from (a request, a script) or how it travels (threads, HTTP, files).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, NamedTuple, TypeVar, dataclass_transform
from urllib.parse import quote

from koala_middleware.values import to_json

EntryKind = Literal["identify", "track", "page"]

ENTRIES_PER_KIND = 30  # the endpoint takes no more of each kind in one request
BATCH_BYTES = 500 * 1024  # what peers' endpoints take at most (475 kB and up); a body stays below it
HEAD_BYTES = 4 * 1024  # of that, kept for what stands around the entries: ids, an address, the arrays
BULK_LINES = 1_000  # batches in one bulk request
BULK_BYTES = 4 * 1024 * 1024  # of them, unpacked; where the endpoint offers bulk, it takes as much

_ARRAYS: Mapping[EntryKind, str] = {"identify": "identifies", "track": "events", "page": "page_views"}
_OPENED: Mapping[EntryKind, bytes] = {kind: f',"{array}":['.encode() for kind, array in _ARRAYS.items()}


_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def record(cls: type[_T]) -> type[_T]:
    """A dataclass that the type checkers hold frozen. One that is frozen at run time is made field by field through
    `object.__setattr__`: 0.5 µs of each entry's 7 from `put` to the answer, for a Person and two Batches."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@record
class Person:
    """Whom a batch is about: the profile behind one `ko_id`, the person behind one email, or both."""

    profile_id: str | None = None
    email: str | None = None

    @property
    def key(self) -> str:
        """Batches of one key are delivered in the order they were made."""
        return self.profile_id or self.email or ""

    @property
    def only_profile(self) -> bool:
        return bool(self.profile_id) and self.email is None

    def joined(self, other: Person) -> Person | None:
        """Both as one, where nothing says that they are two people; else None."""
        profile_ids = {self.profile_id, other.profile_id} - {None}
        emails = {self.email, other.email} - {None}
        if self.key != other.key or len(profile_ids) > 1 or len(emails) > 1:
            return None
        return Person(self.profile_id or other.profile_id, self.email or other.email)

    def path(self, public_api_key: str) -> str:
        return f"{bootstrap_path(public_api_key)}/batch"

    def head(self) -> Mapping[str, str]:
        return _present(profile_id=self.profile_id, email=self.email)


@record
class Account:
    """The company a batch is about."""

    domain: str | None = None
    account_id: str | None = None

    @property
    def key(self) -> str:
        return f"account:{self.account_id or self.domain}"

    def path(self, public_api_key: str) -> str:
        return f"{bootstrap_path(public_api_key)}/accounts/batch"

    def head(self) -> Mapping[str, str]:
        return _present(domain=self.domain, account_id=self.account_id)


Subject = Person | Account


class Call(NamedTuple):
    """One thing said, before it is encoded: of whom, what kind, its event or page name, its data, and when.

    `at` is in nanoseconds since the epoch: when the call was made, not when it is delivered.
    """

    subject: Subject
    kind: EntryKind
    name: str | None
    data: Any
    at: int
    message_id: str | None = None
    context: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Entry:
    """One identify, event or page view, encoded: `body` is one JSON object in UTF-8."""

    kind: EntryKind
    body: bytes


@record
class Batch:
    """What one exchange says of one person or company.

    Attributes:
        ip: The visitor's address, only where the site asks to forward it.
    """

    subject: Subject
    entries: tuple[Entry, ...]
    ip: str | None = None


BatchObject = dict[str, Any]


@dataclass(slots=True)
class Draft:
    """A batch before it is encoded: one person's or company's calls, in the order they were made."""

    subject: Subject
    calls: list[Call]


def drafts(calls: Iterable[Call]) -> list[Draft]:
    """The calls of one exchange, one draft for each person and company. A batch never mixes two people.

    What an unknown visitor did before they said who they are belongs to them. Once another person has begun,
    nothing more is added to the one before.
    """
    people: list[Draft] = []
    accounts: list[Draft] = []
    for call in calls:
        written = people[-1:] if isinstance(call.subject, Person) else accounts
        for draft in written:
            if (subject := joined_subjects(draft.subject, call.subject)) is not None:
                draft.subject = subject
                draft.calls.append(call)
                break
        else:
            (people if isinstance(call.subject, Person) else accounts).append(Draft(call.subject, [call]))
    return people + accounts


def joined_subjects(first: Subject, second: Subject) -> Subject | None:
    if isinstance(first, Person):
        return first.joined(second) if isinstance(second, Person) else None
    return first if first == second else None


def encoded(body: BatchObject) -> Batch:
    """A batch in the protocol's shape, in Python's values, with each entry encoded alone."""
    entries = tuple(
        Entry(kind, to_json(entry)) for kind, array in _ARRAYS.items() for entry in body.get(array, ())
    )
    if "profile_id" in body or "email" in body:
        return Batch(Person(body.get("profile_id"), body.get("email")), entries, body.get("ip"))
    return Batch(Account(body.get("domain"), body.get("account_id")), entries)


def request_body(batch: Batch) -> bytes:
    """The JSON body of one POST. Joins what is encoded already."""
    subject, entries = batch.subject, batch.entries
    if len(entries) == 1 and batch.ip is None and isinstance(subject, Person) and subject.only_profile:
        # One event of one visitor, as most are: 0.5 µs instead of 1.3.
        (entry,) = entries
        parts = (b'{"profile_id":', _quoted(subject.key), _OPENED[entry.kind], entry.body, b"]}")
        return b"".join(parts)
    head = subject.head() if batch.ip is None else {**subject.head(), "ip": batch.ip}
    members = [b'"%b":%b' % (name.encode(), _quoted(text)) for name, text in head.items()]
    bodies: dict[EntryKind, list[bytes]] = {}
    for entry in entries:
        bodies.setdefault(entry.kind, []).append(entry.body)
    for kind, array in _ARRAYS.items():
        if kind in bodies:
            members.append(b'"%b":[%b]' % (array.encode(), b",".join(bodies[kind])))
    return b"{%b}" % b",".join(members)


def _quoted(text: str) -> bytes:
    """A text in JSON. Ids and emails are nearly always ASCII, and a function in C takes a tenth of `to_json`'s time,
    which replaces what is no UTF-8."""
    return encode_basestring_ascii(text).encode() if text.isascii() else to_json(text)


def bootstrap_path(public_api_key: str) -> str:
    """Where the endpoint says what it offers."""
    return f"/web/projects/{quote(public_api_key, safe='')}"


def bulk_path(public_api_key: str) -> str:
    return f"{bootstrap_path(public_api_key)}/bulk"


def bulk_body(batches: Iterable[Batch]) -> bytes:
    """Many batches' bodies, one a line. JSON has no newline but between its tokens, where it means nothing."""
    lines = [request_body(batch) for batch in batches]
    body = b"\n".join((*lines, b""))
    if body.count(b"\n") > len(lines):
        return b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines)
    return body


def _present(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}
