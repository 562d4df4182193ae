"""Erases people: sends deletion requests for up to 50 emails each and polls for their receipts.

Must not know outboxes; the caller purges those. Reports hold emails; error messages do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.errors import KoalaApiError, KoalaConfigError
from koala_middleware.rest.api import BearerAuth, JsonApi

TIMEOUT = 300.0  # seconds, the default of erase()
EMAILS_PER_REQUEST = 50  # the app ignores more, without an error
_FIRST_PAUSE = 0.2  # seconds between two polls, doubled up to
_LONGEST_PAUSE = 5.0
_PATH = "/api/v1/deletion-requests"
_COMPLETED = "completed"
_FAILED = frozenset({"failed", "error", "cancelled", "canceled"})

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was deleted for one person.

    Attributes:
        events: How many were deleted; `page_views` likewise.
        profiles: The profile ids that belonged to them.
        deleted: The whole receipt, as it arrived.
    """

    email: str
    events: int
    page_views: int
    profiles: tuple[str, ...]
    deleted: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """One deletion request for up to 50 people. `status` is "completed" once its receipts arrived."""

    id: str
    emails: tuple[str, ...]
    status: str = "requested"
    receipts: tuple[ErasureReceipt, ...] = ()


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What `erase` did. Holds emails: not for logs.

    Attributes:
        not_requested: Emails that no deletion request holds yet.
        purged: Entries that were deleted from our own outbox.
    """

    requests: tuple[ErasureRequest, ...] = ()
    not_requested: tuple[str, ...] = ()
    purged: int = 0

    @property
    def complete(self) -> bool:
        """Whether every email was requested and every request is completed."""
        return not self.not_requested and all(request.status == _COMPLETED for request in self.requests)

    @property
    def receipts(self) -> tuple[ErasureReceipt, ...]:
        return tuple(receipt for request in self.requests for receipt in request.receipts)


class KoalaErasureError(KoalaApiError):
    """A call of `erase` failed. Deletion requests that were made before it continue.

    Attributes:
        report: What was done so far, with the ids of the deletion requests. Holds emails.
    """

    def __init__(self, cause: KoalaApiError, report: ErasureReport) -> None:
        self.report = report
        requested = sum(len(request.emails) for request in report.requests)
        super().__init__(
            f"{cause} (requested before: {requested} of {requested + len(report.not_requested)} people)",
            status=cause.status,
            temporary=cause.temporary,
        )


def erase(
    config: KoalaConfig, emails: Collection[str], timeout: float, progress: Progress | None = None
) -> ErasureReport:
    """Request the deletion of these people, then wait for the receipts, `timeout` seconds in all.

    If the time runs out, the report is not `complete`. That is no error: the requests continue.

    Args:
        progress: Called with the number of people erased and the number of all, whenever it changes.
    Raises:
        KoalaConfigError: secret_api_key is missing.
        KoalaErasureError: a call failed for good. Its `report` holds what was done before.
    """
    if config.secret_api_key is None:
        raise KoalaConfigError("secret_api_key", "missing", "the workspace's secret key, for erase")
    api = JsonApi(config.app_endpoint, config.user_agent, BearerAuth(config.secret_api_key))
    return _Erasure(api, emails, time.monotonic() + timeout, progress or _ignore).run()


class _Erasure:
    """One call of `erase`, from the first request to the last receipt."""

    def __init__(self, api: JsonApi, emails: Collection[str], deadline: float, progress: Progress) -> None:
        self._api = api
        self._deadline = deadline
        self._progress = progress
        self._report = ErasureReport(not_requested=tuple(emails))
        self._people = len(emails)

    def run(self) -> ErasureReport:
        try:
            self._request_all()
            self._wait_for_all()
        except KoalaApiError as cause:
            raise KoalaErasureError(cause, self._report) from None
        return self._report

    def _request_all(self) -> None:
        while not_requested := self._report.not_requested:
            batch, rest = not_requested[:EMAILS_PER_REQUEST], not_requested[EMAILS_PER_REQUEST:]
            answer = self._call_with_retries("POST", _PATH, {"emails": list(batch)})
            id_ = answer.get("deletion_request_id")
            if not isinstance(id_, str) or not id_:
                raise KoalaApiError("the app's answer has no deletion_request_id")
            request = ErasureRequest(id_, batch)
            self._report = replace(
                self._report, requests=(*self._report.requests, request), not_requested=rest
            )

    def _wait_for_all(self) -> None:
        self._report_progress()
        for index, request in enumerate(self._report.requests):
            for status in self._poll(request):
                requests = list(self._report.requests)
                requests[index] = status
                self._report = replace(self._report, requests=tuple(requests))
                if status.status in _FAILED:
                    raise KoalaApiError(
                        f"the deletion request {request.id} ended with status {status.status}"
                    )
            self._report_progress()

    def _poll(self, request: ErasureRequest) -> Iterator[ErasureRequest]:
        """The request's state, polled until it is completed or the time is over."""
        pauses = self._pauses()
        while True:
            try:
                answer = self._call_with_retries("GET", f"{_PATH}/{quote(request.id, safe='')}")
            except KoalaApiError as error:
                if error.temporary:
                    return  # the time is over; the request continues
                raise
            yield _request(request, answer)
            if answer.get("status") == _COMPLETED or not next(pauses):
                return

    def _call_with_retries(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        """The answer; temporary failures are retried while there is time."""
        pauses = self._pauses()
        while True:
            try:
                return self._api.call(method, path, self._deadline, body)
            except KoalaApiError as error:
                if not error.temporary or not next(pauses):
                    raise

    def _pauses(self) -> Iterator[bool]:
        """Waits, longer each time. False when the time is over."""
        pause = _FIRST_PAUSE
        while (left := self._deadline - time.monotonic()) > pause:
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE)
            yield True
        while True:
            yield False

    def _report_progress(self) -> None:
        completed = (request for request in self._report.requests if request.status == _COMPLETED)
        self._progress(sum(len(request.emails) for request in completed), self._people)


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


def _ignore(_erased: int, _people: int) -> None:
    pass
