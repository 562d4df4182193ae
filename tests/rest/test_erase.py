"""`client.erase`: requests of 50, waited for to the receipt; what waits here goes, too."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from koala_middleware import KoalaClient, KoalaConfigError
from koala_middleware.rest.erasure import KoalaErasureError

if TYPE_CHECKING:
    from support.endpoint import Answer, Asked, JsonEndpoint

SECRET = "sk_do_not_show_me"
PATH = "/api/v1/deletion-requests"


class App:
    """The app's deletion requests: each is completed when it is asked about for the second time."""

    def __init__(self) -> None:
        self.requests: dict[str, list[str]] = {}
        self.looks: dict[str, Any] = {}

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "POST":
            id_ = f"request-{len(self.requests) + 1}"
            self.requests[id_] = asked.body["emails"]
            self.looks[id_] = count(1)
            return 200, {"deletion_request_id": id_}
        id_ = asked.path.removeprefix(f"{PATH}/")
        if next(self.looks[id_]) == 1:
            return 200, {"id": id_, "status": "processing", "input": self.requests[id_]}
        receipt = [
            {"email": email, "events": 3, "profiles": ["p1"], "page_views": 2} for email in self.requests[id_]
        ]
        return 200, {
            "id": id_,
            "status": "completed",
            "input": self.requests[id_],
            "deleted_receipt": receipt,
        }


def people(number: int) -> list[str]:
    return [f"person{index}@example.com" for index in range(number)]


def test_everybody_is_asked_for_in_requests_of_50_and_waited_for_to_the_receipt(
    endpoint: JsonEndpoint,
) -> None:
    endpoint.answer = app = App()
    told: list[tuple[int, int]] = []

    report = endpoint.client().erase(people(120), progress=lambda done, of: told.append((done, of)))

    assert [len(emails) for emails in app.requests.values()] == [50, 50, 20]
    assert report.complete
    assert [receipt.email for receipt in report.receipts] == people(120)
    assert {(one.events, one.page_views, one.profiles) for one in report.receipts} == {(3, 2, ("p1",))}
    assert told == [(0, 120), (50, 120), (100, 120), (120, 120)]
    assert {asked.headers["authorization"] for asked in endpoint.asked} == {f"Bearer {SECRET}"}


def test_one_person_given_twice_is_asked_for_once(endpoint: JsonEndpoint) -> None:
    endpoint.answer = app = App()

    endpoint.client().erase(["ada@example.com", " Ada@Example.com "])

    assert app.requests == {"request-1": ["ada@example.com"]}


def test_what_waits_of_them_here_is_purged(endpoint: JsonEndpoint) -> None:
    endpoint.answer = App()
    client = endpoint.client()
    with client.person(profile_id="p1") as koala:
        koala.track("Came")
        koala.identify("Ada@Example.com")
        koala.track("Went")
    with client.person(profile_id="p2", email="grace@example.com") as koala:
        koala.track("Stayed")

    report = client.erase(["ada@example.com"])

    assert report.purged == 3
    assert client.stats().dropped == {"erased": 3}
    assert client.stats().waiting == 1
    client.close(0)


def test_what_may_do_better_later_is_asked_again(endpoint: JsonEndpoint) -> None:
    app = App()
    answers: Iterator[Answer | None] = iter([(503, {}), (429, {}), None, (500, {}), None, None])
    endpoint.answer = lambda asked: next(answers) or app(asked)

    assert endpoint.client().erase(["ada@example.com"]).complete


def test_time_running_out_is_no_error_and_the_report_says_so(endpoint: JsonEndpoint) -> None:
    endpoint.answer = lambda asked: (
        (200, {"deletion_request_id": "r1"}) if asked.method == "POST" else (200, {"status": "processing"})
    )

    report = endpoint.client().erase(["ada@example.com"], timeout=0.5)

    assert not report.complete
    assert [(request.id, request.status) for request in report.requests] == [("r1", "processing")]


def test_a_call_that_fails_for_good_says_what_was_done_before(endpoint: JsonEndpoint) -> None:
    app = App()
    endpoint.answer = lambda asked: (422, {"error": "no"}) if len(app.requests) == 1 else app(asked)

    with pytest.raises(KoalaErasureError, match=r"HTTP 422 \(requested before: 50 of 60 people") as failed:
        endpoint.client().erase(people(60))

    assert [request.id for request in failed.value.report.requests] == ["request-1"]
    assert failed.value.report.not_requested == tuple(people(60)[50:])


def test_a_request_that_the_app_gives_up_is_said(endpoint: JsonEndpoint) -> None:
    endpoint.answer = lambda asked: (
        (200, {"deletion_request_id": "r1"}) if asked.method == "POST" else (200, {"status": "failed"})
    )

    with pytest.raises(KoalaErasureError, match="the deletion request r1 ended with status failed"):
        endpoint.client().erase(["ada@example.com"])


@pytest.mark.parametrize("answer", [(401, {"error": SECRET}), (403, {}), (400, {"error": "x"}), (500, b"")])
def test_the_secret_key_and_the_emails_are_in_no_error_repr_or_log(
    endpoint: JsonEndpoint, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.answer = lambda _: answer
    client = endpoint.client()
    with caplog.at_level(logging.DEBUG), pytest.raises(KoalaErasureError) as failed:
        client.erase(["ada@example.com"], timeout=0.3)

    shown = [*variables_of(failed.value), str(failed.value), repr(failed.value), repr(client), caplog.text]
    assert SECRET not in " ".join(shown)
    assert "ada@example.com" not in str(failed.value) + caplog.text


def variables_of(error: BaseException | None) -> Iterator[str]:
    """As error trackers show them: each variable of each frame of the chain, but this file's own."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                yield from map(repr, frame.f_locals.values())
        error = error.__cause__ or error.__context__


def test_without_a_secret_key_it_says_which_setting_is_missing(endpoint: JsonEndpoint) -> None:
    with pytest.raises(KoalaConfigError, match=r"secret_api_key is missing.*KOALA_SECRET_API_KEY"):
        endpoint.client(secret_api_key=None).erase(["ada@example.com"])

    assert not endpoint.asked


def test_a_malformed_secret_key_is_not_shown() -> None:
    with pytest.raises(KoalaConfigError) as refused:
        KoalaClient(public_api_key="pk_1", secret_api_key="sk with blanks")

    assert "blanks" not in str(refused.value)


@pytest.mark.parametrize(
    ("emails", "error", "message"),
    [
        pytest.param("ada@example.com", TypeError, "takes a list, such as", id="a text"),
        pytest.param(None, TypeError, "takes a list, such as", id="None"),
        pytest.param([7], TypeError, "takes a str as email 1, not int", id="a number"),
        pytest.param(["ada@example.com", "grace"], ValueError, "number 2 of 2 is invalid", id="no email"),
        pytest.param([], ValueError, "needs at least one email", id="nobody"),
    ],
)
def test_a_wrong_call_is_said_before_anything_is_asked(
    endpoint: JsonEndpoint, emails: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        endpoint.client().erase(emails)

    assert "grace" not in str(refused.value)
    assert not endpoint.asked
