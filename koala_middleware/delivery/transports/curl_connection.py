"""A kept connection of libcurl: a POST takes little more than half of the CPU time that http.client needs, and holds
the GIL for little of it.

Does the same as `requests_connection`. Must not know batches, or what an answer means. Needs the extra `curl`.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import pycurl
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from koala_middleware.delivery.transports import failures
from koala_middleware.delivery.transports.connection import Response, time_to_travel
from koala_middleware.delivery.transports.environment import Environment, read_environment
from koala_middleware.errors import KoalaConfigError

if not hasattr(pycurl, "RETRY_AFTER"):  # noticed while the app starts, not at the endpoint's first 429
    newer = "a pycurl built with libcurl 7.66 or newer: pip install --upgrade 'koala-middleware[curl]'"
    raise KoalaConfigError("transport", "'curl'", newer)

_E_PROXY = 97  # a SOCKS proxy refuses; pycurl has no name for it
_TLS_FAILURES = (
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_SSL_CIPHER,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_ISSUER_ERROR,
    pycurl.E_SSL_INVALIDCERTSTATUS,
)
_FAILURES = {
    pycurl.E_URL_MALFORMAT: failures.HOST_NOT_FOUND,
    pycurl.E_COULDNT_RESOLVE_HOST: failures.HOST_NOT_FOUND,
    pycurl.E_COULDNT_RESOLVE_PROXY: failures.HOST_NOT_FOUND,
    _E_PROXY: failures.NO_CONNECTION,
    pycurl.E_BAD_CONTENT_ENCODING: failures.UNREADABLE_ANSWER,
    pycurl.E_GOT_NOTHING: failures.CONNECTION_LOST,
    pycurl.E_SEND_ERROR: failures.CONNECTION_LOST,
    pycurl.E_RECV_ERROR: failures.CONNECTION_LOST,
    pycurl.E_PARTIAL_FILE: failures.CONNECTION_LOST,
    pycurl.E_FTP_WEIRD_SERVER_REPLY: failures.CONNECTION_LOST,  # not only of FTP servers
    pycurl.E_UNSUPPORTED_PROTOCOL: failures.CONNECTION_LOST,  # not HTTP
    **dict.fromkeys(_TLS_FAILURES, failures.TLS_FAILURE),
}


class CurlConnection:
    """A connection to one endpoint, for one thread at a time: a handle that keeps one connection."""

    def __init__(self, endpoint: str) -> None:
        environment = read_environment(endpoint)
        self._endpoint = str(environment.request.url).rstrip("/")
        self._handle = _handle(environment)
        self._handle.setopt(pycurl.WRITEFUNCTION, self._receive)
        self._headers: Mapping[str, str] | None = None
        self._content: list[bytes] = []
        self._room = 0  # bytes of the answer that may still come
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
        self._prepare(path, headers, timeout, body)
        self._content, self._room = [], max_bytes
        try:
            self._handle.perform()
        except pycurl.error as error:
            if self._room >= 0:  # else we ended it ourselves
                return self._failure(int(error.args[0]))
        wait = self._handle.getinfo(pycurl.RETRY_AFTER)
        return Response(
            self._handle.getinfo(pycurl.RESPONSE_CODE), str(wait) if wait else None, b"".join(self._content)
        )

    def close(self) -> None:
        self._handle.close()

    def _prepare(self, path: str, headers: Mapping[str, str], timeout: float, body: bytes | None) -> None:
        handle = self._handle
        handle.setopt(pycurl.URL, self._endpoint + path)
        if headers is not self._headers:  # the same few each time
            handle.setopt(pycurl.HTTPHEADER, _lines(headers))
            self._headers = headers
        if body is None:
            handle.setopt(pycurl.HTTPGET, 1)
        else:
            handle.setopt(pycurl.POSTFIELDS, body)
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, _milliseconds(timeout))
        handle.setopt(pycurl.TIMEOUT_MS, _milliseconds(timeout + time_to_travel(body)))

    def _receive(self, data: bytes) -> int | None:
        """Takes a part of the answer. Returns 0 to end the transfer."""
        self._room -= len(data)
        if self._room < 0:
            return 0
        self._content.append(data)
        return None

    def _failure(self, code: int) -> Response | str:
        # libcurl has sent the request again itself where a kept connection was cut before any answer.
        self.reused = self._handle.getinfo(pycurl.NUM_CONNECTS) == 0
        tunnel = self._handle.getinfo(pycurl.HTTP_CONNECTCODE)
        if tunnel == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return Response(tunnel, None, b"")
        if tunnel >= HTTPStatus.MULTIPLE_CHOICES:
            return failures.tunnel_refused(tunnel)
        if code == pycurl.E_OPERATION_TIMEDOUT:
            sent = self._handle.getinfo(pycurl.REQUEST_SIZE)
            return failures.NO_ANSWER if sent else failures.CONNECT_TIMEOUT
        if code == pycurl.E_COULDNT_CONNECT:
            refused = self._handle.getinfo(pycurl.OS_ERRNO) == errno.ECONNREFUSED
            return failures.CONNECTION_REFUSED if refused else failures.NO_CONNECTION
        return _FAILURES.get(code) or failures.unexpected(_name_of(code))


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)  # 0 would mean for ever


def _name_of(code: int) -> str:
    """What libcurl calls this error."""
    names = (name for name in dir(pycurl) if name.startswith("E_") and getattr(pycurl, name) == code)
    return next(names, str(code))


def _handle(environment: Environment) -> pycurl.Curl:
    """Makes a handle that does what urllib3 does. No redirects, no ~/.netrc and no cookies are libcurl's defaults."""
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)  # signals would interrupt the app's own threads
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    handle.setopt(pycurl.MAXCONNECTS, 1)
    handle.setopt(pycurl.USERAGENT, "")  # ours is among the headers; a proxy need not know pycurl's
    handle.setopt(pycurl.ACCEPT_ENCODING, "identity")  # but an answer in gzip is decoded
    handle.setopt(pycurl.PROXY, environment.proxy or "")
    handle.setopt(pycurl.NOPROXY, "")  # applied already, as `requests` reads it
    _trust(handle, environment.ca_bundle or DEFAULT_CA_BUNDLE_PATH)
    return handle


def _trust(handle: pycurl.Curl, ca_bundle: str) -> None:
    """Sets the only certificates to trust: libcurl may have been built with some of its own."""
    folder = Path(ca_bundle).is_dir()
    for file, path in ((pycurl.CAINFO, pycurl.CAPATH), (pycurl.PROXY_CAINFO, pycurl.PROXY_CAPATH)):
        handle.setopt(file, None if folder else ca_bundle)
        handle.setopt(path, ca_bundle if folder else None)


def _lines(headers: Mapping[str, str]) -> list[str]:
    # libcurl would add two more: `Expect` makes a large POST wait for a response that few servers send.
    return [*(f"{name}: {value}" for name, value in headers.items()), "Accept:", "Expect:"]
