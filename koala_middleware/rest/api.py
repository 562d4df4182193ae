"""Calls that wait for their answer. For scripts, jobs and admin pages: a request's handler has no time for them.

Each wait has a deadline, and no error holds a secret, a person's data or the answer's own words, which may
repeat them. Must not know contexts or delivery's outbox. `requests` is loaded with the first call.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.answers import SUSPENDED, Answer, Verdict, advice, verdict
from koala_middleware.delivery.transports.untraced import untraced
from koala_middleware.errors import KoalaApiError
from koala_middleware.payload.values.serialization import to_json
from koala_middleware.protocol.paths import profiles_path

if TYPE_CHECKING:
    import requests

QUALIFY_TIMEOUT = 10.0  # seconds, the default of qualify()
_ANSWER_BYTES = 4 * 1024 * 1024  # more than the receipt for 50 people
_CHUNK = 64 * 1024


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
    said = api.call("POST", path, time.monotonic() + timeout, profile)
    profile_id = said.get("profile_id")
    if not isinstance(profile_id, str):
        raise KoalaApiError(f"POST {config.endpoint}{path}: the answer has no profile_id")
    return Qualification(profile_id, said.get("q"), said.get("a"))


class BearerAuth:
    """An Authorization header whose key no repr shows, whatever a traceback prints."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request

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
            answer, content = self._exchange(method, self._base + path, deadline, body)
        if verdict(answer) is Verdict.TAKEN:
            found = _object(content)
            if found is not None:
                return found
            answer = Answer(answer.status, "the answer is not a JSON object")
        raise self._error(f"{method} {self._base}{path}", answer)

    def _error(self, call: str, answer: Answer) -> KoalaApiError:
        hint = ""
        if answer.status is None or verdict(answer) is Verdict.TAKEN:
            said = answer.error
        else:
            said = answer.summary
            if verdict(answer) is Verdict.HOLD:
                hint = f": {self._advice(answer)}"
        return KoalaApiError(
            f"{call}: {said}{hint}", status=answer.status, temporary=verdict(answer) is Verdict.RETRY
        )

    def _advice(self, answer: Answer) -> str:
        if self._bearer is None:
            return advice(answer, self._base)
        return "check KOALA_SECRET_API_KEY, and that KOALA_APP_ENDPOINT is a server that takes it"

    def _exchange(self, method: str, url: str, deadline: float, body: object) -> tuple[Answer, bytes]:
        import requests  # noqa: PLC0415  (an HTTP client costs 100 ms of import)

        left = deadline - time.monotonic()
        if left <= 0:
            return Answer(None, "no time left to ask"), b""
        headers = {"User-Agent": self._user_agent, "Content-Type": "application/json"}
        try:
            with requests.request(
                method,
                url,
                data=None if body is None else to_json(body),
                headers=headers,
                # Never None: requests would prefer a password in ~/.netrc.
                auth=self._bearer or _no_auth,
                timeout=left,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = b"".join(_chunks(response, deadline))
                if response.ok:
                    return Answer(response.status_code), content
                return Answer(response.status_code, _suspended_error(content)), b""
        except requests.exceptions.SSLError:
            failure = "TLS failure"
        except (requests.exceptions.Timeout, _LateError):
            failure = "no answer in time"
        except requests.exceptions.ConnectionError:
            failure = "no connection"
        except Exception as error:  # noqa: BLE001  (whatever it is, its text may hold the call's data)
            failure = type(error).__name__
        return Answer(None, failure), b""


class _LateError(Exception):
    """The answer did not end in time."""


def _chunks(response: requests.Response, deadline: float) -> Iterator[bytes]:
    size = 0
    for chunk in response.iter_content(_CHUNK):
        size += len(chunk)
        if time.monotonic() > deadline or size > _ANSWER_BYTES:
            raise _LateError
        yield chunk


def _no_auth(request: Any) -> Any:
    return request


def _object(content: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _suspended_error(content: bytes) -> str:
    """The one error text that matters here. All others may repeat the secret or the data."""
    said = (_object(content) or {}).get("error")
    return SUSPENDED if Answer(400, said if isinstance(said, str) else "").suspended else ""
