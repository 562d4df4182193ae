"""A kept connection of libcurl's: little more than half of the CPU time that a POST over http.client costs, and little
of it holding the interpreter.

Says and takes what pool.py's does. Must not know batches, nor what an answer means. Needs the extra `curl`.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pycurl
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy

from koala_middleware.delivery.transports import failures
from koala_middleware.delivery.transports.connection import Response
from koala_middleware.delivery.transports.environment import Environment, read_environment
from koala_middleware.errors import KoalaConfigError

if not hasattr(pycurl, "RETRY_AFTER"):  # while the app starts, rather than at an endpoint's first 429
    newer = "a pycurl built with libcurl 7.66 or newer: pip install --upgrade 'koala-middleware[curl]'"
    raise KoalaConfigError("transport", "'curl'", newer)

_SLOWEST = 32_000  # bytes a second: a body that goes out faster is not cut off on its way
_TLS_FAILURES = (
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_SSL_CIPHER,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_ISSUER_ERROR,
    pycurl.E_SSL_INVALIDCERTSTATUS,
)
_WORDS = {
    pycurl.E_COULDNT_RESOLVE_HOST: failures.HOST_NOT_FOUND,
    pycurl.E_COULDNT_RESOLVE_PROXY: failures.HOST_NOT_FOUND,
    pycurl.E_BAD_CONTENT_ENCODING: failures.UNREADABLE_ANSWER,
    pycurl.E_GOT_NOTHING: failures.CONNECTION_LOST,
    pycurl.E_SEND_ERROR: failures.CONNECTION_LOST,
    pycurl.E_RECV_ERROR: failures.CONNECTION_LOST,
    pycurl.E_PARTIAL_FILE: failures.CONNECTION_LOST,
    pycurl.E_FTP_WEIRD_SERVER_REPLY: failures.CONNECTION_LOST,  # of any server
    pycurl.E_UNSUPPORTED_PROTOCOL: failures.CONNECTION_LOST,  # no HTTP at all
    **dict.fromkeys(_TLS_FAILURES, failures.TLS_FAILURE),
}


class CurlConnection:
    """To one endpoint, for one thread at a time: one handle, which keeps one connection."""

    def __init__(self, endpoint: str) -> None:
        around = read_environment(endpoint)
        self._endpoint = str(around.request.url).rstrip("/")
        self._handle = _handle(around)
        self._handle.setopt(pycurl.WRITEFUNCTION, self._take)
        self._headers: Mapping[str, str] | None = None
        self._content: list[bytes] = []
        self._room = 0
        self.reused = False

    def request(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout: float,
        *,
        body: bytes | None = None,
        max_bytes: int,
    ) -> Response | str:
        """Takes `timeout` seconds at most, from connecting to the answer's last byte; longer for a large body."""
        self._set(path, headers, timeout, body)
        self._content, self._room = [], max_bytes
        try:
            self._handle.perform()
        except pycurl.error as error:
            if self._room >= 0:  # else it was us who had enough
                return self._in_words(int(error.args[0]))
        wait = self._handle.getinfo(pycurl.RETRY_AFTER)
        return Response(
            self._handle.getinfo(pycurl.RESPONSE_CODE), str(wait) if wait else None, b"".join(self._content)
        )

    def close(self) -> None:
        self._handle.close()

    def _set(self, path: str, headers: Mapping[str, str], timeout: float, body: bytes | None) -> None:
        handle = self._handle
        handle.setopt(pycurl.URL, self._endpoint + path)
        if headers is not self._headers:  # the same few each time
            handle.setopt(pycurl.HTTPHEADER, _lines(headers))
            self._headers = headers
        if body is None:
            handle.setopt(pycurl.HTTPGET, 1)
        else:
            handle.setopt(pycurl.POSTFIELDS, body)
        milliseconds = max(int(timeout * 1000), 1)  # 0 would be for ever
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, milliseconds)
        handle.setopt(pycurl.TIMEOUT_MS, milliseconds + len(body or b"") * 1000 // _SLOWEST)

    def _take(self, data: bytes) -> int | None:
        """A part of the answer; 0 ends the transfer."""
        self._room -= len(data)
        if self._room < 0:
            return 0
        self._content.append(data)
        return None

    def _in_words(self, code: int) -> str:
        # libcurl has asked again itself where an old connection was cut before it said anything.
        self.reused = self._handle.getinfo(pycurl.NUM_CONNECTS) == 0
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return (
                failures.NO_ANSWER if self._handle.getinfo(pycurl.REQUEST_SIZE) else failures.CONNECT_TIMEOUT
            )
        if code == pycurl.E_COULDNT_CONNECT:
            refused = self._handle.getinfo(pycurl.OS_ERRNO) == errno.ECONNREFUSED
            return failures.CONNECTION_REFUSED if refused else failures.NO_CONNECTION
        return _WORDS.get(code, f"libcurl's error {code}")


def _handle(around: Environment) -> pycurl.Curl:
    """One that does what urllib3 does: no redirects, no passwords of ~/.netrc, no cookies are libcurl's defaults."""
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)  # it would interrupt the app's own threads
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    handle.setopt(pycurl.MAXCONNECTS, 1)
    handle.setopt(pycurl.USERAGENT, "")  # ours is among the headers; a proxy need not know pycurl's
    handle.setopt(pycurl.ACCEPT_ENCODING, "identity")  # but what comes in gzip is decoded
    handle.setopt(pycurl.PROXY, select_proxy(str(around.request.url), around.proxies) or "")
    handle.setopt(pycurl.NOPROXY, "")  # it is asked already, in `requests`' reading
    _believe(handle, around.ca_bundle or DEFAULT_CA_BUNDLE_PATH)
    return handle


def _believe(handle: pycurl.Curl, authorities: str) -> None:
    """These authorities and no other: libcurl may have been built with some of its own."""
    folder = Path(authorities).is_dir()
    for file, path in ((pycurl.CAINFO, pycurl.CAPATH), (pycurl.PROXY_CAINFO, pycurl.PROXY_CAPATH)):
        handle.setopt(file, None if folder else authorities)
        handle.setopt(path, authorities if folder else None)


def _lines(headers: Mapping[str, str]) -> list[str]:
    # Two that libcurl would add: `Expect` makes a large POST wait for a word that few servers say.
    return [*(f"{name}: {value}" for name, value in headers.items()), "Accept:", "Expect:"]
