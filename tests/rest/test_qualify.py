"""`client.qualify`: one question, one typed answer, within its time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.dripping import dripping

from koala_middleware import KoalaClient
from koala_middleware.errors import KoalaApiError
from koala_middleware.rest.api import Qualification

if TYPE_CHECKING:
    from support.endpoint import JsonEndpoint

PROFILE = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"


def test_it_asks_as_the_protocol_says_and_answers_what_was_answered(endpoint: JsonEndpoint) -> None:
    endpoint.answer = lambda _: (200, {"profile_id": PROFILE, "q": True, "a": {"name": "Acme"}})

    qualified = endpoint.client().qualify(PROFILE, email="ada@example.com", traits={"plan": "pro"})

    assert qualified == Qualification(PROFILE, True, {"name": "Acme"})
    (asked,) = endpoint.asked
    assert (asked.method, asked.path) == ("POST", "/web/projects/pk_api/profiles")
    assert asked.body == {"profile_id": PROFILE, "email": "ada@example.com", "traits": {"plan": "pro"}}
    assert asked.headers["user-agent"] == "koala_middleware/0.1"
    assert asked.headers["content-type"] == "application/json"
    assert "authorization" not in asked.headers


def test_an_endpoint_that_knows_nothing_answers_none(endpoint: JsonEndpoint) -> None:
    endpoint.answer = lambda _: (200, {"profile_id": PROFILE, "q": None, "a": {}})

    assert endpoint.client().qualify(email="ada@example.com") == Qualification(PROFILE, None, {})
    assert endpoint.asked[0].body == {"email": "ada@example.com"}


def test_traits_are_said_in_json_and_their_secrets_masked(endpoint: JsonEndpoint) -> None:
    endpoint.answer = lambda _: (200, {"profile_id": PROFILE})

    endpoint.client().qualify(PROFILE, traits={"tags": {"a"}, "password": "hunter2"})

    assert endpoint.asked[0].body["traits"]["tags"] == ["a"]
    assert "hunter2" not in str(endpoint.asked[0].body)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            (400, {"error": "Koala ingest suspended"}), "set KOALA_ENDPOINT to a collector", id="closed"
        ),
        pytest.param(
            (401, {"error": "no"}), "check endpoint .KOALA_ENDPOINT. and public_api_key", id="wrong key"
        ),
        pytest.param((422, {"error": "bad ada@example.com"}), "HTTP 422", id="refused"),
        pytest.param((500, b"<html>"), "HTTP 500", id="broken"),
        pytest.param((302, b""), "redirects", id="redirect"),
        pytest.param((200, b"<html>"), "is not a JSON object", id="no JSON"),
        pytest.param((200, ["a"]), "is not a JSON object", id="a list"),
        pytest.param((200, {}), "has no profile_id", id="no profile"),
    ],
)
def test_an_answer_that_is_no_success_says_what_to_do_and_repeats_nothing(
    endpoint: JsonEndpoint, answer: tuple[int, object], message: str
) -> None:
    endpoint.answer = lambda _: answer

    with pytest.raises(KoalaApiError, match=message) as failed:
        endpoint.client().qualify(email="ada@example.com")

    assert "ada@example.com" not in str(failed.value)


def test_an_endpoint_that_does_not_answer_is_waited_for_no_longer_than_timeout(
    endpoint: JsonEndpoint,
) -> None:
    endpoint.answer = lambda _: (200 if endpoint.released.wait(20) else 500, {})

    began = time.monotonic()
    with pytest.raises(KoalaApiError, match="no answer in time") as failed:
        endpoint.client().qualify(PROFILE, timeout=0.3)

    assert 0.2 < time.monotonic() - began < 5
    assert failed.value.temporary


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"])
def test_an_answer_in_drops_is_waited_for_no_longer_than_timeout(answer: bytes) -> None:
    with dripping((answer, b" ")) as endpoint:
        client = KoalaClient(public_api_key="pk_api", endpoint=f"http://127.0.0.1:{endpoint.port}")
        began = time.monotonic()
        with pytest.raises(KoalaApiError, match="no answer in time"):
            client.qualify(PROFILE, timeout=0.3)
        assert time.monotonic() - began < 15


def test_an_endpoint_that_is_not_there_is_named() -> None:
    client = KoalaClient(public_api_key="pk_api", endpoint="http://127.0.0.1:9")

    with pytest.raises(KoalaApiError, match="connection refused"):
        client.qualify(PROFILE, timeout=2)


def test_a_wrong_call_is_said_at_the_call() -> None:
    client = KoalaClient(public_api_key="pk_api")

    with pytest.raises(ValueError, match="qualify\\(\\) needs profile_id or email"):
        client.qualify()
    with pytest.raises(TypeError, match="qualify\\(\\) takes a mapping or None as traits, not list"):
        client.qualify(PROFILE, traits=["pro"])  # type: ignore[arg-type]  # the wrong call
    with pytest.raises(TypeError, match="qualify\\(\\) takes a str or None as profile_id, not int"):
        client.qualify(7)  # type: ignore[arg-type]  # as above
