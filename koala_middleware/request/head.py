"""A request's head: method, path, headers and cookies, as ASGI and WSGI hold them.

Only translates. Never reads the body or the session, and knows a user only if the app has already loaded one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Protocol

from koala_middleware.request.all_cookies import read_cookies


class RequestHead(Protocol):
    """A request without its body. The argument of `consent` functions.

    `header("Sec-GPC")` takes a name in any case, joins several fields with `", "`, and returns None for none.
    `cookies` maps each cookie's name to its value as sent; `cookie_header()` returns all of them, raw.
    """

    @property
    def method(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def path_in_app(self) -> str:
        """The path below the app's mount point or root path."""

    @property
    def query(self) -> str: ...
    @property
    def peer(self) -> str | None: ...
    @property
    def cookies(self) -> Mapping[str, str]: ...
    @property
    def user(self) -> object:
        """The signed-in user if the app has already loaded it; else None. Never loads one."""

    def header(self, name: str) -> str | None: ...
    def cookie_header(self) -> str: ...


class AsgiHead:
    """A request as ASGI's connection scope."""

    __slots__ = ("_fields", "_root_path", "_scope", "path")

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self._scope = scope
        # Read now, since routers change them: Litestar's the one, Starlette's the other.
        self.path: str = scope.get("path", "/")
        self._root_path: str = scope.get("root_path", "")
        self._fields: dict[bytes, bytes] | None = None

    @property
    def method(self) -> str:
        return str(self._scope.get("method", "GET"))  # a websocket's handshake is a GET

    @property
    def path_in_app(self) -> str:
        return self.path.removeprefix(self._root_path) or "/"

    @property
    def scheme(self) -> str:
        return str(self._scope.get("scheme", "http"))

    @property
    def user(self) -> object:
        return self._scope.get("user")  # set by Starlette's AuthenticationMiddleware

    @property
    def query(self) -> str:
        raw: bytes = self._scope.get("query_string", b"")
        return raw.decode("latin-1")

    @property
    def peer(self) -> str | None:
        client = self._scope.get("client")
        return client[0] if client else None

    def header(self, name: str) -> str | None:
        if self._fields is None:
            self._fields = _by_name(self._scope.get("headers", ()))
        found = self._fields.get(_field(name))
        return None if found is None else found.decode("latin-1")

    @property
    def cookies(self) -> Mapping[str, str]:
        return read_cookies(self.cookie_header())

    def cookie_header(self) -> str:
        # HTTP/2 clients may send several fields. ASGI servers pass each on, with its name in lower case.
        found: bytes = b""
        for name, value in self._scope.get("headers", ()):
            if name == b"cookie":
                found = found + b"; " + value if found else value
        return found.decode("latin-1")


@lru_cache(maxsize=128)  # saves 1.5 µs of a request that records something
def _field(header: str) -> bytes:
    return header.lower().encode("latin-1", "replace")


def _by_name(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Each header's value by its lower-case name."""
    pairs = list(fields)
    by_name = dict(pairs)
    # Few requests need joining, which costs 1.5 µs, half of reading a head.
    return by_name if len(by_name) == len(pairs) and all(map(bytes.islower, by_name)) else _joined(pairs)


def _joined(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    joined: dict[bytes, bytes] = {}
    for name, value in fields:
        key = name.lower()
        joined[key] = joined[key] + b", " + value if key in joined else value
    return joined


class WsgiHead:
    """A request as WSGI's environ, which Django's `request.META` resembles under ASGI, too."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    @property
    def method(self) -> str:
        return str(self._environ.get("REQUEST_METHOD", "GET"))

    @property
    def scheme(self) -> str:
        return str(self._environ.get("wsgi.url_scheme", "http"))

    @property
    def path(self) -> str:
        return _decoded(self._environ.get("SCRIPT_NAME", "") + self._environ.get("PATH_INFO", ""))

    @property
    def path_in_app(self) -> str:
        return _decoded(self._environ.get("PATH_INFO", ""))

    @property
    def user(self) -> object:
        return None  # the environ has none: what knows a user tells the context

    @property
    def query(self) -> str:
        return str(self._environ.get("QUERY_STRING", ""))

    @property
    def peer(self) -> str | None:
        return self._environ.get("REMOTE_ADDR")

    def header(self, name: str) -> str | None:
        value: str | None = self._environ.get(_variable(name))
        return value

    @property
    def cookies(self) -> Mapping[str, str]:
        return read_cookies(self.cookie_header())

    def cookie_header(self) -> str:
        cookies: str = self._environ.get("HTTP_COOKIE", "")
        return cookies


@lru_cache(maxsize=128)
def _variable(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


def _decoded(path: str) -> str:
    # WSGI decodes the path's bytes as latin-1 (PEP 3333); they are UTF-8.
    return path.encode("latin-1", "replace").decode("utf-8", "replace") or "/"
