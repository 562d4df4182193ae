"""What each answer of the endpoint means, by the protocol's table of errors."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from koala_middleware.delivery.transports.answers import (
    LONGEST_RETRY_AFTER,
    WEB_PAGE,
    Answer,
    Verdict,
    advice,
    retry_after,
    verdict,
)

NOW = 1_790_000_000.0


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_taken_whatever_json_or_text_it_holds(status: int) -> None:
    assert verdict(Answer(status)) is Verdict.TAKEN


@pytest.mark.parametrize("status", [400, 406, 410, 415, 422])
def test_a_refused_payload_is_never_sent_again_unchanged(status: int) -> None:
    assert verdict(Answer(status, "invalid")) is Verdict.REFUSED


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, None])
def test_a_passing_failure_is_tried_again(status: int | None) -> None:
    assert verdict(Answer(status)) is Verdict.RETRY


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 301, 302, 307, 308])
def test_a_wrong_key_or_address_holds_everything(status: int) -> None:
    assert verdict(Answer(status)) is Verdict.HOLD


def test_the_closed_service_holds_everything_although_its_status_is_that_of_a_bad_payload() -> None:
    assert verdict(Answer(400, "Koala ingest suspended")) is Verdict.HOLD
    assert verdict(Answer(400, "event is missing")) is Verdict.REFUSED


def test_a_body_too_large_is_sent_in_parts() -> None:
    assert verdict(Answer(413)) is Verdict.TOO_LARGE


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        (format_datetime(datetime.fromtimestamp(NOW + 20, UTC), usegmt=True), 20.0),
        (format_datetime(datetime.fromtimestamp(NOW - 20, UTC), usegmt=True), 0.0),
        ("86400", LONGEST_RETRY_AFTER),
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_comes_as_seconds_or_as_a_date_and_is_capped(header: str | None, seconds: float) -> None:
    assert retry_after(header, now=NOW) == seconds


def test_the_summary_of_an_answer_repeats_nothing_that_the_endpoint_wrote() -> None:
    assert "ada@example.com" not in Answer(400, "ada@example.com is no email").summary


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_advice_for_a_wrong_key_or_address_names_both_settings(status: int) -> None:
    said = advice(Answer(status), "https://collector.example")
    assert "endpoint (KOALA_ENDPOINT)" in said
    assert "public_api_key (KOALA_PUBLIC_API_KEY)" in said


@pytest.mark.parametrize(
    ("answer", "may"),
    [
        (Answer(401), True),
        (Answer(403), True),
        (Answer(404), True),
        (Answer(405), True),
        (Answer(407), False),
        (Answer(302), False),
        (Answer(400, "Koala ingest suspended"), False),
        (Answer(200, WEB_PAGE), False),
    ],
)
def test_a_firewall_or_a_missing_path_may_concern_one_batch_alone(answer: Answer, may: bool) -> None:
    assert verdict(answer) is Verdict.HOLD
    assert answer.may_concern_one_batch is may


def test_a_web_page_instead_of_an_answer_holds_everything() -> None:
    answer = Answer(200, WEB_PAGE)
    assert verdict(answer) is Verdict.HOLD
    assert not answer.taken
    assert answer.summary == "HTTP 200 with a web page"
    assert "check endpoint (KOALA_ENDPOINT)" in advice(answer, "https://collector.example")
