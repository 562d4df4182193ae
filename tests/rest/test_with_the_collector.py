"""The answered calls against the project's own collector: who was there before is gone after."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from koala_middleware import KoalaClient

SECRET = "sk_collector"
DEADLINE = 30.0


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("collector")
    command = "import sys; from koala_middleware.cli.main import main; sys.exit(main())"
    options = ["--port", "0", "--database", str(folder / "koala.db"), "--secret-key", SECRET]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", command, "collector", *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("Collector: ").strip()
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)


@pytest.fixture
def client(collector: str) -> Iterator[KoalaClient]:
    client = KoalaClient(
        public_api_key="pk_api", endpoint=collector, app_endpoint=collector, secret_api_key=SECRET
    )
    yield client
    client.close(0)


def people(collector: str) -> dict[str, Any]:
    answer = requests.get(f"{collector}/api/people", timeout=DEADLINE).json()
    return {person["email"]: person for person in answer["people"]}


def test_who_was_erased_is_gone_and_the_receipt_says_what_was(client: KoalaClient, collector: str) -> None:
    for email in ("ada@example.com", "grace@example.com"):
        with client.person(profile_id=f"profile-of-{email}", email=email, traits={"plan": "pro"}) as koala:
            koala.track("Invoice Paid")
            koala.track("Invoice Sent")
    assert client.flush(DEADLINE).complete
    assert set(people(collector)) == {"ada@example.com", "grace@example.com"}

    report = client.erase(["Ada@example.com", "nobody@example.com"], timeout=DEADLINE)

    assert report.complete
    ada, nobody = report.receipts
    assert (ada.email, ada.events) == ("ada@example.com", 2)
    assert (nobody.email, nobody.events) == ("nobody@example.com", 0)
    assert set(people(collector)) == {"grace@example.com"}


def test_qualify_is_answered(client: KoalaClient) -> None:
    qualified = client.qualify(
        "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba", email="joan@example.com", timeout=DEADLINE
    )

    assert qualified.profile_id == "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
    assert not qualified.a


def test_qualify_by_email_alone_answers_a_new_profile_of_the_persons(
    client: KoalaClient, collector: str
) -> None:
    with client.person(profile_id="profile-of-mary", email="mary@example.com") as koala:
        koala.track("Signed Up")
    assert client.flush(DEADLINE).complete

    qualified = client.qualify(email="mary@example.com", timeout=DEADLINE)

    assert str(uuid.UUID(qualified.profile_id)) == qualified.profile_id
    assert people(collector)["mary@example.com"]["profiles"] == ["profile-of-mary", qualified.profile_id]
