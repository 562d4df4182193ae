"""One kept connection to the endpoint, made as `requests` makes it and then used without its ceremony.

`requests` says which proxy, CA bundle and client certificate the environment asks for. What it would do anew for
each request (cookies, hooks, history, one URL parsed many times) is two thirds of a POST's cost, so its pool is
asked directly. Must not know batches, nor what an answer means. Loaded by whoever sends: it costs 100 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

import requests
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool


class Reply(NamedTuple):
    """What came back, as far as anybody looks at it."""

    status: int
    retry_after: str | None
    content: bytes


class Connection(HTTPAdapter):
    """To one endpoint, for one thread at a time.

    Attributes:
        kept: An answer came over it, so the next request may find it closed meanwhile.
    """

    def __init__(self, endpoint: str) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        with requests.Session() as session:
            asked = session.merge_environment_settings(endpoint, {}, None, None, None)
        # Not prepared by the session: that would look for a password in ~/.netrc.
        request = requests.Request("POST", endpoint).prepare()
        verify, proxies, certificate = asked["verify"], asked["proxies"], asked["cert"]
        pool = self.get_connection_with_tls_context(request, verify, proxies, certificate)
        self.cert_verify(pool, endpoint, verify, certificate)  # type: ignore[no-untyped-call]  # has no stub
        self._pool = cast("HTTPConnectionPool", pool)
        # Through a proxy that makes no tunnel the whole URL is asked for, else the path alone.
        self._before_path = self.request_url(request, proxies).rstrip("/")
        self.kept = False

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        timeout: float,
        *,
        body: bytes | None = None,
        most: int,
    ) -> Reply:
        """One request and its answer, of which `most` bytes are read. Raises what urllib3 raises."""
        response = self._pool.urlopen(
            method,
            self._before_path + path,
            body,
            headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=timeout,
            preload_content=False,
        )
        try:
            # Read without a limit costs 80 µs less, so it is set only where an answer may need one.
            short = response.length_remaining is not None and response.length_remaining <= most
            content = response.read(None if short else most, decode_content=True)
        finally:
            response.close()  # after the last byte the connection is in the pool already, and stays there
        self.kept = True
        return Reply(response.status, response.headers.get("Retry-After"), content)
