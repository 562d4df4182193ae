"""The transport over HTTP: one POST to the endpoint over a kept connection, and its answer in a few words.

Must not know outboxes or retries. `requests` is loaded with a client, never with the package.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from koala_middleware.config import KoalaConfig
from koala_middleware.delivery.answers import CUT, SILENT, Answer, retry_after
from koala_middleware.delivery.courtesy import paced
from koala_middleware.delivery.quiet import uninstrumented
from koala_middleware.wire import Batch, bootstrap_path, bulk_body, bulk_path, request_body

if TYPE_CHECKING:
    from koala_middleware.delivery.connection import Connection, Reply

_ANSWER_BYTES = 64 * 1024  # more than any answer of the protocol; what is longer is not read
_BULK_ANSWER_BYTES = 1024 * 1024
_ERROR_LENGTH = 300
_GZIP = 16 + zlib.MAX_WBITS
_TAKEN = {"status": 200}  # a line of a bulk's answer, as most are: compared, not taken apart
_FASTEST = 1  # of zlib's levels: batches are so alike that the others gain little and cost much


def prepare() -> None:
    """Loads the HTTP client while the app starts, so that no request has to share the time it takes.

    Not where gevent is about to patch sockets: what is loaded before that stays unpatched.
    """
    if "gevent" in sys.modules:
        from gevent import monkey  # noqa: PLC0415

        if not monkey.is_module_patched("socket"):
            return
    import koala_middleware.delivery.connection  # noqa: F401, PLC0415


class HttpTransport:
    """One connection, for one thread at a time."""

    def __init__(self, config: KoalaConfig) -> None:
        self._endpoint = config.endpoint
        self._public_api_key = config.public_api_key
        self._headers = {"User-Agent": config.user_agent}
        self._json = {**self._headers, "Content-Type": "application/json"}
        self._bulk = {**self._headers, "Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        self._connection: Connection | None = None

    def send(self, batch: Batch, timeout: float) -> Answer:
        """One POST. Waits `timeout` seconds at most to connect, and again for the answer to go on."""
        path = batch.subject.path(self._public_api_key)
        return _answer(self._ask("POST", path, self._json, timeout, request_body(batch)))

    def takes_bulk(self, timeout: float) -> bool:
        """Whether the endpoint's bootstrap offers it. False, too, where there is no such answer."""
        reply = self._ask("GET", bootstrap_path(self._public_api_key), self._headers, timeout)
        if isinstance(reply, str) or reply.status != HTTPStatus.OK:
            return False
        return _object(reply.content).get("bulk") is True

    def send_bulk(self, batches: Sequence[Batch], timeout: float) -> Answer | list[Answer]:
        """One POST for all of them: an answer for each, or one where the whole request got another."""
        body = _gzipped(bulk_body(paced(batches)))
        reply = self._ask("POST", bulk_path(self._public_api_key), self._bulk, timeout, body)
        if not isinstance(reply, str) and reply.status == HTTPStatus.MULTI_STATUS:
            return _answers(reply, len(batches)) or _answer(reply)
        return _answer(reply)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(
        self, method: str, path: str, headers: dict[str, str], timeout: float, body: bytes | None = None
    ) -> Reply | str:
        """What was answered, or why nothing was."""
        deadline = time.monotonic() + timeout
        with uninstrumented():
            kept = self._connection is not None and self._connection.kept
            reply = self._try(method, path, headers, timeout, body)
            # The endpoint may close a kept connection at the moment we use it: that is no outage.
            if reply == CUT and kept and (left := deadline - time.monotonic()) > 0:
                reply = self._try(method, path, headers, left, body)
        return reply

    def _try(
        self, method: str, path: str, headers: dict[str, str], timeout: float, body: bytes | None
    ) -> Reply | str:
        most = _BULK_ANSWER_BYTES if headers is self._bulk else _ANSWER_BYTES
        try:
            return self._connected().ask(method, path, headers, timeout, body=body, most=most)
        except Exception as error:  # noqa: BLE001  (a proxy setting, a decoder: whatever it is, the entries stay)
            self.close()
            return _kind_of(error)

    def _connected(self) -> Connection:
        from koala_middleware.delivery.connection import Connection  # noqa: PLC0415  (paid by the worker)

        if self._connection is None:
            self._connection = Connection(self._endpoint)
        return self._connection


def _gzipped(body: bytes) -> bytes:
    packing = zlib.compressobj(_FASTEST, zlib.DEFLATED, _GZIP)
    return packing.compress(body) + packing.flush()


def _answer(reply: Reply | str) -> Answer:
    if isinstance(reply, str):
        return Answer(None, reply)
    error = "" if reply.status < HTTPStatus.BAD_REQUEST else _error_of(_object(reply.content))
    return Answer(reply.status, error, retry_after(reply.retry_after))


def _answers(reply: Reply, expected: int) -> list[Answer]:
    """Each line's answer; none at all where they are not as many as the lines, or unlike the protocol's."""
    lines = _object(reply.content).get("answers")
    wait = retry_after(reply.retry_after)
    taken = Answer(HTTPStatus.OK)  # one for all: they are most of the lines
    try:
        answers = [
            taken if line == _TAKEN else Answer(int(line["status"]), _error_of(line), wait)
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


def _kind_of(error: Exception) -> str:
    """A failure in a few words: its text would hold addresses."""
    from urllib3 import exceptions as known  # noqa: PLC0415  (loaded with the connection)

    text = repr(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return "host name not found"
    if "NewConnection" in text:
        return "connection refused" if "refused" in text else "no connection"
    kinds = {
        known.ConnectTimeoutError: "no connection in time",
        known.TimeoutError: SILENT,
        known.SSLError: "TLS failure",
        known.ProtocolError: CUT,
        known.ProxyError: CUT,
        OSError: CUT,
    }
    return next((words for kind, words in kinds.items() if isinstance(error, kind)), type(error).__name__)
