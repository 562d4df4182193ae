"""The HTTP transport: POSTs batches to the endpoint over a kept connection.

Must not know outboxes or retries, or which library makes connections.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.gil import paced
from koala_middleware.delivery.transports import failures
from koala_middleware.delivery.transports.answers import WEB_PAGE, Answer, retry_after
from koala_middleware.delivery.transports.connecting import connector
from koala_middleware.delivery.transports.connection import Connection, Response
from koala_middleware.delivery.transports.untraced import untraced
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.paths import bootstrap_path, bulk_path
from koala_middleware.protocol.request_bodies import bulk_body, request_body

_ANSWER_BYTES = 64 * 1024  # longer than any answer of the protocol; the rest is not read
_BULK_ANSWER_BYTES = 1024 * 1024
_ERROR_LENGTH = 300
_GZIP = 16 + zlib.MAX_WBITS
_BLANK = b" \t\r\n\xef\xbb\xbf"  # may stand before a page: white space, a byte order mark
_TAKEN = Answer(HTTPStatus.OK)
_TAKEN_LINE = {"status": 200}  # nearly every line of a bulk's answer
_FASTEST = 1  # zlib's level: batches are so alike that higher levels gain little and cost much


class HttpTransport:
    """One connection, for one thread at a time."""

    def __init__(self, config: KoalaConfig) -> None:
        self._connect = connector(config.transport)
        self._endpoint = config.endpoint
        self._public_api_key = config.public_api_key
        self._headers = {"User-Agent": config.user_agent}
        self._json = {**self._headers, "Content-Type": "application/json"}
        self._bulk = {**self._headers, "Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        self._connection: Connection | None = None

    def send(self, batch: Batch, timeout: float) -> Answer:
        """Sends one POST and returns its answer."""
        path = batch.subject.path(self._public_api_key)
        return _answer(self._request(path, self._json, timeout, request_body(batch)))

    def takes_bulk(self, timeout: float) -> bool:
        """Returns whether the endpoint's bootstrap offers bulk; False where it has no bootstrap."""
        response = self._request(bootstrap_path(self._public_api_key), self._headers, timeout)
        if isinstance(response, str) or response.status != HTTPStatus.OK:
            return False
        return _object(response.content).get("bulk") is True

    def send_bulk(self, batches: Sequence[Batch], timeout: float) -> Answer | list[Answer]:
        """Sends one POST for all batches."""
        body = _gzipped(bulk_body(paced(batches)))
        response = self._request(bulk_path(self._public_api_key), self._bulk, timeout, body)
        if not isinstance(response, str) and response.status == HTTPStatus.MULTI_STATUS:
            return _answers(response, len(batches)) or _answer(response)
        return _answer(response)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _request(
        self, path: str, headers: dict[str, str], timeout: float, body: bytes | None = None
    ) -> Response | str:
        """Returns the response, or why there is none."""
        max_bytes = _BULK_ANSWER_BYTES if headers is self._bulk else _ANSWER_BYTES
        with untraced():
            try:
                response = self._try(path, headers, timeout, body, max_bytes)
            except failures.CannotConnectError as error:
                response = str(error)
            except Exception as error:  # noqa: BLE001  (a bug of a library must not end delivery: the entries stay)
                response = failures.unexpected(type(error).__name__)
        if isinstance(response, str):
            self.close()
        return response

    def _try(
        self, path: str, headers: dict[str, str], timeout: float, body: bytes | None, max_bytes: int
    ) -> Response | str:
        deadline = time.monotonic() + timeout
        connection = self._connection = self._connection or self._connect(self._endpoint)
        response = connection.request(path, headers, timeout, body=body, max_bytes=max_bytes)
        # The endpoint may close a kept connection just as it is used: that is no outage.
        if (
            response == failures.CONNECTION_LOST
            and connection.reused
            and (left := deadline - time.monotonic()) > 0
        ):
            response = connection.request(path, headers, left, body=body, max_bytes=max_bytes)
        return response


def _gzipped(body: bytes) -> bytes:
    # One call: each releases the GIL, and waits for a busy app to get it back.
    return zlib.compress(body, _FASTEST, _GZIP)


def _answer(response: Response | str) -> Answer:
    if isinstance(response, str):
        return Answer(None, response)
    if response.status >= HTTPStatus.BAD_REQUEST:
        return Answer(
            response.status, _error_of(_object(response.content)), retry_after(response.retry_after)
        )
    if _is_web_page(response.content):
        return Answer(response.status, WEB_PAGE)
    if response.status == HTTPStatus.OK and response.retry_after is None:
        return _TAKEN
    return Answer(response.status, "", retry_after(response.retry_after))


def _is_web_page(content: bytes) -> bool:
    """HTML or XML, which no receiver of the protocol answers: a login portal, a parked domain, another site."""
    return content.lstrip(_BLANK).startswith(b"<")


def _answers(response: Response, expected: int) -> list[Answer]:
    """Returns the answer for each batch; an empty list where the body is not the protocol's."""
    lines = _object(response.content).get("answers")
    wait = retry_after(response.retry_after)
    try:
        answers = [
            _TAKEN if line == _TAKEN_LINE else Answer(int(line["status"]), _error_of(line), wait)
            for line in lines or ()
        ]
    except (TypeError, ValueError, KeyError, AttributeError):
        return []
    return answers if len(answers) == expected else []


def _object(content: bytes) -> dict[str, Any]:
    """Returns the JSON object in a response; an empty one for anything else."""
    try:
        answer = json.loads(content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _error_of(answer: dict[str, Any]) -> str:
    """Returns the protocol's `{"error": …}`, shortened."""
    error = answer.get("error")
    return error[:_ERROR_LENGTH] if isinstance(error, str) else ""
