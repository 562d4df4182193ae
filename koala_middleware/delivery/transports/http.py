"""The transport over HTTP: one POST to the endpoint over a kept connection, and its answer in a few words.

Must not know outboxes or retries, nor who makes connections: pool.py or curl.py.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.gil import paced
from koala_middleware.delivery.transports.answers import CUT, Answer, retry_after
from koala_middleware.delivery.transports.connection import UNTRUSTED, Connection, Reply
from koala_middleware.delivery.transports.untraced import uninstrumented
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.bodies import bulk_body, request_body
from koala_middleware.protocol.paths import bootstrap_path, bulk_path

_ANSWER_BYTES = 64 * 1024  # more than any answer of the protocol; what is longer is not read
_BULK_ANSWER_BYTES = 1024 * 1024
_ERROR_LENGTH = 300
_GZIP = 16 + zlib.MAX_WBITS
_TAKEN = Answer(HTTPStatus.OK)  # what nearly every answer is
_TAKEN_LINE = {"status": 200}  # and nearly every line of a bulk's: compared, not taken apart
_FASTEST = 1  # of zlib's levels: batches are so alike that the others gain little and cost much


class HttpTransport:
    """One connection, for one thread at a time.

    Args:
        connect: Opens a connection to the endpoint of the settings.
    """

    def __init__(self, config: KoalaConfig, connect: Callable[[str], Connection]) -> None:
        self._connect = connect
        self._endpoint = config.endpoint
        self._public_api_key = config.public_api_key
        self._headers = {"User-Agent": config.user_agent}
        self._json = {**self._headers, "Content-Type": "application/json"}
        self._bulk = {**self._headers, "Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        self._connection: Connection | None = None

    def send(self, batch: Batch, timeout: float) -> Answer:
        """One POST and its answer."""
        path = batch.subject.path(self._public_api_key)
        return _answer(self._ask(path, self._json, timeout, request_body(batch)))

    def takes_bulk(self, timeout: float) -> bool:
        """Whether the endpoint's bootstrap offers it. False, too, where there is no such answer."""
        reply = self._ask(bootstrap_path(self._public_api_key), self._headers, timeout)
        if isinstance(reply, str) or reply.status != HTTPStatus.OK:
            return False
        return _object(reply.content).get("bulk") is True

    def send_bulk(self, batches: Sequence[Batch], timeout: float) -> Answer | list[Answer]:
        """One POST for all of them: an answer for each, or one where the whole request got another."""
        body = _gzipped(bulk_body(paced(batches)))
        reply = self._ask(bulk_path(self._public_api_key), self._bulk, timeout, body)
        if not isinstance(reply, str) and reply.status == HTTPStatus.MULTI_STATUS:
            return _answers(reply, len(batches)) or _answer(reply)
        return _answer(reply)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(
        self, path: str, headers: dict[str, str], timeout: float, body: bytes | None = None
    ) -> Reply | str:
        """What was answered, or why nothing was."""
        most = _BULK_ANSWER_BYTES if headers is self._bulk else _ANSWER_BYTES
        with uninstrumented():
            try:
                reply = self._try(path, headers, timeout, body, most)
            except OSError:  # no CA bundle where the environment says it is
                reply = UNTRUSTED
            except Exception as error:  # noqa: BLE001  (a proxy setting, a decoder: whatever it is, the entries stay)
                reply = type(error).__name__
        if isinstance(reply, str):
            self.close()
        return reply

    def _try(
        self, path: str, headers: dict[str, str], timeout: float, body: bytes | None, most: int
    ) -> Reply | str:
        deadline = time.monotonic() + timeout
        connection = self._connection = self._connection or self._connect(self._endpoint)
        reply = connection.ask(path, headers, timeout, body=body, most=most)
        # The endpoint may close a kept connection at the moment we use it: that is no outage.
        if reply == CUT and connection.reused and (left := deadline - time.monotonic()) > 0:
            reply = connection.ask(path, headers, left, body=body, most=most)
        return reply


def _gzipped(body: bytes) -> bytes:
    # In one call: each lets go of the interpreter, and waits for a busy app to get it back.
    return zlib.compress(body, _FASTEST, _GZIP)


def _answer(reply: Reply | str) -> Answer:
    if isinstance(reply, str):
        return Answer(None, reply)
    if reply.status == HTTPStatus.OK and reply.retry_after is None:
        return _TAKEN
    error = "" if reply.status < HTTPStatus.BAD_REQUEST else _error_of(_object(reply.content))
    return Answer(reply.status, error, retry_after(reply.retry_after))


def _answers(reply: Reply, expected: int) -> list[Answer]:
    """Each line's answer; none at all where they are not as many as the lines, or unlike the protocol's."""
    lines = _object(reply.content).get("answers")
    wait = retry_after(reply.retry_after)
    try:
        answers = [
            _TAKEN if line == _TAKEN_LINE else Answer(int(line["status"]), _error_of(line), wait)
            for line in lines or ()
        ]
    except (TypeError, ValueError, KeyError, AttributeError):
        return []
    return answers if len(answers) == expected else []


def _object(content: bytes) -> dict[str, Any]:
    """The JSON object in an answer; empty for anything else."""
    try:
        answer = json.loads(content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _error_of(answer: dict[str, Any]) -> str:
    """The protocol's `{"error": …}`, shortened."""
    error = answer.get("error")
    return error[:_ERROR_LENGTH] if isinstance(error, str) else ""
