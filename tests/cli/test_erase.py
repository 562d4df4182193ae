"""`koala-middleware erase`, as an operator runs it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from koala_middleware.cli.main import main

if TYPE_CHECKING:
    from support.endpoint import Answer, Asked, JsonEndpoint

SECRET = "sk_do_not_show_me"


@pytest.fixture(autouse=True)
def settings(endpoint: JsonEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOALA_PUBLIC_API_KEY", "pk_api")
    monkeypatch.setenv("KOALA_SECRET_API_KEY", SECRET)
    monkeypatch.setenv("KOALA_APP_ENDPOINT", endpoint.url)


def completed(asked: Asked) -> Answer:
    if asked.method == "POST":
        return 200, {"deletion_request_id": "r1"}
    receipt: dict[str, Any] = {"email": "ada@example.com", "events": 3, "page_views": 2, "profiles": ["p1"]}
    return 200, {"id": "r1", "status": "completed", "deleted_receipt": [receipt]}


def test_the_receipt_is_printed_and_the_exit_status_is_0(
    endpoint: JsonEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.answer = completed

    assert main(["erase", "ada@example.com"]) == 0

    assert capsys.readouterr().out == "ada@example.com: 3 events, 2 page views, 1 profile deleted\n"


def test_emails_are_read_from_stdin(endpoint: JsonEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.answer = completed
    monkeypatch.setattr("sys.stdin", io.StringIO("ada@example.com\n\n grace@example.com\n"))

    main(["erase", "-"])

    assert endpoint.asked[0].body == {"emails": ["ada@example.com", "grace@example.com"]}


def test_without_receipts_in_time_the_exit_status_is_1(
    endpoint: JsonEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.answer = lambda asked: (
        completed(asked) if asked.method == "POST" else (200, {"status": "processing"})
    )

    assert main(["erase", "ada@example.com", "--timeout", "0.3"]) == 1

    assert "deletion request r1 for 1 person is processing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("emails", "message"),
    [(["ada@example.com"], "check KOALA_SECRET_API_KEY"), (["ada"], "number 1 of 1 is invalid")],
)
def test_errors_are_one_line_without_the_secret(
    endpoint: JsonEndpoint, emails: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.answer = lambda _: (401, {"error": SECRET})

    with pytest.raises(SystemExit, match=message) as ended:
        main(["erase", *emails])

    assert SECRET not in str(ended.value) + "".join(capsys.readouterr())


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOALA_SECRET_API_KEY")

    with pytest.raises(SystemExit, match=r"^secret_api_key is missing, .* Set KOALA_SECRET_API_KEY\.$"):
        main(["erase", "ada@example.com"])
