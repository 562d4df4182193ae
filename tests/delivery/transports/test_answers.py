"""What each answer of the endpoint means, by the protocol's table of errors."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from koala_middleware.delivery.transports.answers import (
    LONGEST_RETRY_AFTER,
    Answer,
    Verdict,
    retry_after,
    verdict,
)

NOW = 1_790_000_000.0


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success_is_told_by_the_status_alone(status: int) -> None:
    assert verdict(Answer(status)) is Verdict.TAKEN


@pytest.mark.parametrize("status", [400, 404, 405, 410, 415, 422])
def test_a_refused_payload_is_never_sent_again_unchanged(status: int) -> None:
    assert verdict(Answer(status, "invalid")) is Verdict.REFUSED


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, None])
def test_what_may_pass_is_tried_again(status: int | None) -> None:
    assert verdict(Answer(status)) is Verdict.RETRY


@pytest.mark.parametrize("status", [401, 403, 407, 301, 302, 307, 308])
def test_a_wrong_key_or_address_holds_everything(status: int) -> None:
    assert verdict(Answer(status)) is Verdict.HOLD


def test_the_closed_service_holds_everything_though_it_answers_like_to_a_bad_payload() -> None:
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


def test_what_is_logged_of_an_answer_repeats_nothing_the_endpoint_wrote() -> None:
    assert "ada@example.com" not in Answer(400, "ada@example.com is no email").summary
