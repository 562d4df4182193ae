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
from urllib.parse import quote

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.answers import SUSPENDED, Answer, Verdict, advice, verdict
from koala_middleware.delivery.transports.untraced import untraced
from koala_middleware.errors import KoalaApiError
from koala_middleware.payload.values.serialization import to_json

if TYPE_CHECKING:
    import requests

QUALIFY_TIMEOUT = 10.0  # seconds, where qualify() is not told
_ANSWER_BYTES = 4 * 1024 * 1024  # more than a receipt of 50 people takes
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Qualification:
    """What the endpoint makes of a visitor.

    Attributes:
        profile_id: As the endpoint knows the visitor; minted there when none was given.
        q: Its verdict; None where it has none.
        a: What it knows of their company; None or empty where it knows nothing.
    """

    profile_id: str
    q: Any
    a: Any


def qualify(config: KoalaConfig, profile: Mapping[str, Any], timeout: float) -> Qualification:
    """`POST …/profiles`. `profile` has profile_id, and email and traits where they are known.

    Raises:
        KoalaApiError: no answer in time, or one that is no success.
    """
    api = Api(config.endpoint, config.user_agent)
    path = f"/web/projects/{quote(config.public_api_key, safe='')}/profiles"
    said = api.ask("POST", path, time.monotonic() + timeout, profile)
    profile_id = said.get("profile_id")
    if not isinstance(profile_id, str):
        raise KoalaApiError(f"POST {config.endpoint}{path}: the answer names no profile_id")
    return Qualification(profile_id, said.get("q"), said.get("a"))


class Bearer:
    """An Authorization header that shows its key nowhere, whatever is printed of the call."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def __repr__(self) -> str:
        return "Bearer(***)"


class Api:
    """One host's answered calls: JSON out, a JSON object back."""

    def __init__(self, base: str, user_agent: str, bearer: Bearer | None = None) -> None:
        self._base = base
        self._user_agent = user_agent
        self._bearer = bearer

    def ask(self, method: str, path: str, deadline: float, body: object = None) -> Mapping[str, Any]:
        """The answer's object.

        Args:
            deadline: By the monotonic clock.
        Raises:
            KoalaApiError: no answer by then, or one that is no success.
        """
        # Failures come back as values: an exception of the client would bring frames that hold the secret.
        with untraced():
            answer, content = self._exchange(method, self._base + path, deadline, body)
        if verdict(answer) is Verdict.TAKEN:
            found = _object(content)
            if found is not None:
                return found
            answer = Answer(answer.status, "an answer that is no JSON object")
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
                # Never None: requests would look for a password in ~/.netrc, and prefer it.
                auth=self._bearer or _nobody,
                timeout=left,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = b"".join(_pieces(response, deadline))
                if response.ok:
                    return Answer(response.status_code), content
                return Answer(response.status_code, _known_error(content)), b""
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
    """The answer is still coming when its time is over."""


def _pieces(response: requests.Response, deadline: float) -> Iterator[bytes]:
    size = 0
    for piece in response.iter_content(_PIECE):
        size += len(piece)
        if time.monotonic() > deadline or size > _ANSWER_BYTES:
            raise _LateError
        yield piece


def _nobody(request: Any) -> Any:
    return request


def _object(content: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _known_error(content: bytes) -> str:
    """The one error text that means something; every other may repeat the secret or the data."""
    said = (_object(content) or {}).get("error")
    return SUSPENDED if Answer(400, said if isinstance(said, str) else "").suspended else ""
