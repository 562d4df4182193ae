"""Calls that wait for their answer. For scripts, jobs and admin pages: a request's handler has no time for them.

Each wait has a deadline, and no error holds a secret, a person's data or the answer's own words, which may
repeat them. Must not know contexts or delivery's outbox. The HTTP client is loaded with the first call.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports import failures
from koala_middleware.delivery.transports.answers import SUSPENDED, Answer, Verdict, advice, verdict
from koala_middleware.delivery.transports.untraced import untraced
from koala_middleware.errors import KoalaApiError
from koala_middleware.payload.values.sized_json import to_json
from koala_middleware.protocol.paths import profiles_path

QUALIFY_TIMEOUT = 10.0  # seconds, the default of qualify()
_ANSWER_BYTES = 4 * 1024 * 1024  # more than the receipt for 50 people


@dataclass(frozen=True, slots=True)
class Qualification:
    """What the endpoint knows about a visitor.

    Attributes:
        profile_id: The visitor's id; a new one if none was given.
        q: Whether the visitor qualifies; None if the endpoint does not say.
        a: The visitor's company; None or empty if it is not known.
    """

    profile_id: str
    q: Any
    a: Any


def qualify(config: KoalaConfig, profile: Mapping[str, Any], timeout: float) -> Qualification:
    """Ask the endpoint about one visitor (`POST …/profiles`).

    Args:
        profile: `profile_id`, `email` and `traits`, as far as they are known.
        timeout: Seconds, in all.
    Raises:
        KoalaApiError: no answer in time, or an error.
    """
    api = JsonApi(config.endpoint, config.user_agent)
    path = profiles_path(config.public_api_key)
    answer = api.call("POST", path, time.monotonic() + timeout, profile)
    profile_id = answer.get("profile_id")
    if not isinstance(profile_id, str):
        raise KoalaApiError(f"POST {config.endpoint}{path}: the answer has no profile_id")
    return Qualification(profile_id, answer.get("q"), answer.get("a"))


class BearerAuth:
    """An Authorization header whose key no repr shows, whatever a traceback prints."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"}

    def __repr__(self) -> str:
        return "BearerAuth(***)"


class JsonApi:
    """Calls to one host that send JSON and answer with a JSON object."""

    def __init__(self, base: str, user_agent: str, bearer: BearerAuth | None = None) -> None:
        self._base = base
        self._user_agent = user_agent
        self._bearer = bearer

    def call(self, method: str, path: str, deadline: float, body: object = None) -> Mapping[str, Any]:
        """The object in the answer.

        Args:
            deadline: On the monotonic clock.
        Raises:
            KoalaApiError: no answer by then, or an error.
        """
        # `_exchange` returns failures as values: an exception from it would hold frames with the secret.
        with untraced():
            answer, content = self._exchange(method, path, deadline, body)
        if verdict(answer) is Verdict.TAKEN:
            found = _object(content)
            if found is not None:
                return found
            answer = Answer(answer.status, "the answer is not a JSON object")
        raise self._error(f"{method} {self._base}{path}", answer)

    def _error(self, call: str, answer: Answer) -> KoalaApiError:
        hint = ""
        if answer.status is None or verdict(answer) is Verdict.TAKEN:
            outcome = answer.error
        else:
            outcome = answer.summary
            if verdict(answer) is Verdict.HOLD:
                hint = f": {self._advice(answer)}"
        return KoalaApiError(
            f"{call}: {outcome}{hint}", status=answer.status, temporary=verdict(answer) is Verdict.RETRY
        )

    def _advice(self, answer: Answer) -> str:
        if self._bearer is None or answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return advice(answer, self._base)
        return "check KOALA_SECRET_API_KEY, and that KOALA_APP_ENDPOINT is a server that takes it"

    def _exchange(self, method: str, path: str, deadline: float, body: object) -> tuple[Answer, bytes]:
        # Loaded with the first call: an HTTP client takes 100 ms.
        from koala_middleware.delivery.transports.requests_connection import RequestsConnection  # noqa: PLC0415

        left = deadline - time.monotonic()
        if left <= 0:
            return Answer(None, "no time left to ask"), b""
        headers = {"User-Agent": self._user_agent, "Content-Type": "application/json"}
        if self._bearer is not None:
            headers |= self._bearer.headers()
        content = None if method == "GET" else to_json(body)
        try:
            with closing(RequestsConnection(self._base)) as connection:
                response = connection.request(path, headers, left, body=content, max_bytes=_ANSWER_BYTES)
        except failures.CannotConnectError as error:
            response = str(error)
        except Exception as error:  # noqa: BLE001  (whatever it is, its text may hold the call's data)
            response = failures.unexpected(type(error).__name__)
        if isinstance(response, str):
            return Answer(None, response), b""
        if response.status < HTTPStatus.BAD_REQUEST:
            return Answer(response.status), response.content
        return Answer(response.status, _suspended_error(response.content)), b""


def _object(content: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _suspended_error(content: bytes) -> str:
    """The one error text that matters here. All others may repeat the secret or the data."""
    text = (_object(content) or {}).get("error")
    return SUSPENDED if Answer(400, text if isinstance(text, str) else "").suspended else ""
