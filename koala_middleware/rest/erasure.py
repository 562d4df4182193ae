"""Erasing people: deletion requests of 50 emails, asked about until their receipts are there.

Must not know outboxes; what waits there is purged by who calls this. Reports hold emails, errors' texts none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.errors import KoalaApiError, KoalaConfigError
from koala_middleware.rest.api import Api, Bearer

TIMEOUT = 300.0  # seconds, where erase() is not told
EMAILS_PER_REQUEST = 50  # the app silently ignores what is more
_FIRST_PAUSE = 0.2  # seconds between two questions, doubled up to
_LONGEST_PAUSE = 5.0
_PATH = "/api/v1/deletion-requests"
_COMPLETED = "completed"
_FAILED = frozenset({"failed", "error", "cancelled", "canceled"})

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was deleted of one person.

    Attributes:
        profiles: The profile ids that were theirs.
        deleted: The receipt as it came, for what else it counts.
    """

    email: str
    events: int
    page_views: int
    profiles: tuple[str, ...]
    deleted: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """One deletion request of 50 people at most. `status` is "completed" once its receipts are there."""

    id: str
    emails: tuple[str, ...]
    status: str = "requested"
    receipts: tuple[ErasureReceipt, ...] = ()


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What `erase` did. Holds emails: not for logs.

    Attributes:
        unasked: People that no deletion request names yet.
        purged: Entries of theirs that waited in our own outbox, and do no more.
    """

    requests: tuple[ErasureRequest, ...] = ()
    unasked: tuple[str, ...] = ()
    purged: int = 0

    @property
    def complete(self) -> bool:
        """Everybody was asked for, and every request is completed."""
        return not self.unasked and all(request.status == _COMPLETED for request in self.requests)

    @property
    def receipts(self) -> tuple[ErasureReceipt, ...]:
        return tuple(receipt for request in self.requests for receipt in request.receipts)


class KoalaErasureError(KoalaApiError):
    """`erase` could not ask for everybody. What was asked for before is under way all the same.

    Attributes:
        report: What was done so far, with the ids of the deletion requests. Holds emails.
    """

    def __init__(self, cause: KoalaApiError, report: ErasureReport) -> None:
        self.report = report
        asked = sum(len(request.emails) for request in report.requests)
        super().__init__(
            f"{cause} ({asked} of {asked + len(report.unasked)} people were asked to be erased before)",
            status=cause.status,
            temporary=cause.temporary,
        )


def erase(
    config: KoalaConfig, emails: Collection[str], timeout: float, progress: Progress | None = None
) -> ErasureReport:
    """Ask for everybody's deletion, then wait for the receipts, `timeout` seconds in all.

    Time running out is no error: the report is then not `complete`, and its requests go on without us.

    Args:
        progress: Called with how many people are erased, and of how many, whenever that changes.
    Raises:
        KoalaConfigError: secret_api_key is missing.
        KoalaErasureError: a call failed for good; its `report` holds what was done before.
    """
    if config.secret_api_key is None:
        raise KoalaConfigError("secret_api_key", "missing", "the workspace's secret key, which erase needs")
    api = Api(config.app_endpoint, config.user_agent, Bearer(config.secret_api_key))
    return _Erasure(api, emails, time.monotonic() + timeout, progress or _unseen).done()


class _Erasure:
    """One call of `erase`, from the first request to the last receipt."""

    def __init__(self, api: Api, emails: Collection[str], deadline: float, progress: Progress) -> None:
        self._api = api
        self._deadline = deadline
        self._progress = progress
        self._report = ErasureReport(unasked=tuple(emails))
        self._everybody = len(emails)

    def done(self) -> ErasureReport:
        try:
            self._ask_for_all()
            self._wait_for_all()
        except KoalaApiError as cause:
            raise KoalaErasureError(cause, self._report) from None
        return self._report

    def _ask_for_all(self) -> None:
        while unasked := self._report.unasked:
            some, rest = unasked[:EMAILS_PER_REQUEST], unasked[EMAILS_PER_REQUEST:]
            answer = self._patiently("POST", _PATH, {"emails": list(some)})
            id_ = answer.get("deletion_request_id")
            if not isinstance(id_, str) or not id_:
                raise KoalaApiError("the app's answer names no deletion_request_id")
            request = ErasureRequest(id_, some)
            self._report = replace(self._report, requests=(*self._report.requests, request), unasked=rest)

    def _wait_for_all(self) -> None:
        self._tell()
        for index, request in enumerate(self._report.requests):
            for status in self._asked_about(request):
                requests = list(self._report.requests)
                requests[index] = status
                self._report = replace(self._report, requests=tuple(requests))
                if status.status in _FAILED:
                    raise KoalaApiError(f"the deletion request {request.id} is {status.status}")
            self._tell()

    def _asked_about(self, request: ErasureRequest) -> Iterator[ErasureRequest]:
        """The request as the app has it, again and again until it is completed or the time is over."""
        pauses = self._pauses()
        while True:
            try:
                answer = self._patiently("GET", f"{_PATH}/{quote(request.id, safe='')}")
            except KoalaApiError as error:
                if error.temporary:
                    return  # the time is over; the request goes on without us
                raise
            yield _request(request, answer)
            if answer.get("status") == _COMPLETED or not next(pauses):
                return

    def _patiently(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        """The answer; what may do better later is asked again while there is time."""
        pauses = self._pauses()
        while True:
            try:
                return self._api.ask(method, path, self._deadline, body)
            except KoalaApiError as error:
                if not error.temporary or not next(pauses):
                    raise

    def _pauses(self) -> Iterator[bool]:
        """Waits, a while longer each time; False when the time is over."""
        pause = _FIRST_PAUSE
        while (left := self._deadline - time.monotonic()) > pause:
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE)
            yield True
        while True:
            yield False

    def _tell(self) -> None:
        completed = (request for request in self._report.requests if request.status == _COMPLETED)
        self._progress(sum(len(request.emails) for request in completed), self._everybody)


def _request(request: ErasureRequest, answer: Mapping[str, Any]) -> ErasureRequest:
    receipts = answer.get("deleted_receipt")
    found = [_receipt(one) for one in receipts if isinstance(one, dict)] if isinstance(receipts, list) else []
    return replace(request, status=str(answer.get("status")), receipts=tuple(found))


def _receipt(deleted: Mapping[str, Any]) -> ErasureReceipt:
    profiles = deleted.get("profiles")
    return ErasureReceipt(
        email=str(deleted.get("email", "")),
        events=_number(deleted.get("events")),
        page_views=_number(deleted.get("page_views")),
        profiles=tuple(map(str, profiles)) if isinstance(profiles, list) else (),
        deleted=deleted,
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _unseen(_erased: int, _everybody: int) -> None:
    pass
