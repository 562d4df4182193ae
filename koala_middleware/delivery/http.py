"""The transport: one POST to the endpoint over a kept connection, and its answer in a few words.

Must not know outboxes or retries. `requests` is loaded with a client, never with the package.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from koala_middleware.config import KoalaConfig
from koala_middleware.delivery.answers import CUT, SILENT, Answer, retry_after
from koala_middleware.delivery.quiet import uninstrumented
from koala_middleware.wire import Batch, request_body

if TYPE_CHECKING:
    import requests

_ANSWER_BYTES = 64 * 1024  # more than any answer of the protocol; what is longer is not read
_ERROR_LENGTH = 300


def prepare() -> None:
    """Loads the HTTP client while the app starts, so that no request has to share the time it takes.

    Not where gevent is about to patch sockets: what is loaded before that stays unpatched.
    """
    if "gevent" in sys.modules:
        from gevent import monkey  # noqa: PLC0415

        if not monkey.is_module_patched("socket"):
            return
    import requests  # noqa: F401, PLC0415


class HttpTransport:
    """One connection, for one thread at a time."""

    def __init__(self, config: KoalaConfig) -> None:
        self._endpoint = config.endpoint
        self._public_api_key = config.public_api_key
        self._headers = {"Content-Type": "application/json", "User-Agent": config.user_agent}
        self._session: requests.Session | None = None
        self._kept = False

    def send(self, batch: Batch, timeout: float) -> Answer:
        """One POST. Waits `timeout` seconds at most to connect, and again for the answer to go on."""
        path, body = batch.subject.path(self._public_api_key), request_body(batch)
        deadline = time.monotonic() + timeout
        with uninstrumented():
            kept = self._kept
            answer = self._try(path, body, timeout)
            # The endpoint may close a kept connection at the moment we use it: that is no outage.
            if answer.error == CUT and kept and (left := deadline - time.monotonic()) > 0:
                answer = self._try(path, body, left)
        return answer

    def close(self) -> None:
        session, self._session, self._kept = self._session, None, False
        if session is not None:
            session.close()

    def _try(self, path: str, body: bytes, timeout: float) -> Answer:
        import requests  # noqa: PLC0415  (an HTTP client costs 100 ms of import: paid by the worker)

        try:
            return self._exchange(path, body, timeout)
        except requests.exceptions.SSLError:
            failure = "TLS failure"
        except requests.exceptions.ConnectTimeout:
            failure = "no connection in time"
        except requests.exceptions.Timeout:
            failure = SILENT
        except requests.exceptions.ConnectionError as error:
            failure = _kind_of(error)
        except Exception as error:  # noqa: BLE001  (a proxy setting, a decoder: whatever it is, the entries stay)
            failure = type(error).__name__
        self.close()
        return Answer(None, failure)

    def _exchange(self, path: str, body: bytes, timeout: float) -> Answer:
        session = self._session or self._connected()
        with session.post(
            self._endpoint + path,
            data=body,
            headers=self._headers,
            timeout=timeout,
            allow_redirects=False,
            stream=True,
        ) as response:
            content = response.raw.read(_ANSWER_BYTES, decode_content=True)
            self._kept = True
            header = response.headers.get("Retry-After")
            error = "" if response.ok else _error_text(content)
            return Answer(response.status_code, error, retry_after(header))

    def _connected(self) -> requests.Session:
        from http.cookiejar import DefaultCookiePolicy  # noqa: PLC0415

        import requests  # noqa: PLC0415

        session = requests.Session()
        session.auth = lambda request: request  # else requests looks for a password in ~/.netrc
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session = session
        return session


def _error_text(content: bytes) -> str:
    """The protocol's `{"error": …}`, shortened; empty for anything else."""
    try:
        answer = json.loads(content)
    except ValueError:
        return ""
    error = answer.get("error") if isinstance(answer, dict) else None
    return error[:_ERROR_LENGTH] if isinstance(error, str) else ""


def _kind_of(error: Exception) -> str:
    """A connection error in two words: its text would hold addresses."""
    text = repr(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return "host name not found"
    if "NewConnection" in text:
        return "connection refused" if "refused" in text else "no connection"
    return CUT
