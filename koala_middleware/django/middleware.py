"""The Django middleware: translates between Django's request and response and the exchange, and decides nothing.

Never touches the body, `request.user` or the session.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from http.cookies import Morsel
from typing import Any, Self
from weakref import ReferenceType, ref

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase, StreamingHttpResponse
from django.utils.functional import LazyObject

from koala_middleware.calls.context import KoalaContext
from koala_middleware.calls.current import as_current, current
from koala_middleware.client import KoalaClient
from koala_middleware.config.settings import PREFIX, KoalaConfig
from koala_middleware.errors import KoalaConfigError, KoalaNotInstalledError
from koala_middleware.exchange import Exchange, join, join_async, outer_context
from koala_middleware.identity.consent import require_sync
from koala_middleware.identity.cookie import COOKIE_NAME, ProfileCookie
from koala_middleware.pipeline import Pipeline
from koala_middleware.request.head import WsgiHead

_TRUST_FORWARDED_HOST = "KOALA_TRUST_FORWARDED_HOST"

GetResponse = Callable[[HttpRequest], HttpResponseBase]
AsyncGetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class KoalaRequest(HttpRequest):
    """For annotations: a Django request with its `koala`."""

    koala: KoalaContext


class KoalaMissingError(KoalaNotInstalledError, AttributeError):
    """`request.koala` of a request that did not pass the middleware. `hasattr` and templates see no attribute."""

    def __init__(self) -> None:
        super().__init__(
            'put "koala_middleware.django.KoalaMiddleware" first in MIDDLEWARE, and let the request pass it '
            "(RequestFactory makes requests that do not; Django's test client makes some that do)"
        )


class _MissingKoala:
    """The class's `koala`, which the middleware's own on each request hides."""

    def __get__(self, request: HttpRequest | None, owner: object) -> Self:
        if request is None:
            return self
        raise KoalaMissingError


def explain_missing_koala() -> None:
    """Have `request.koala` without the middleware say what to do, unless the name is taken."""
    if not hasattr(HttpRequest, "koala"):
        HttpRequest.koala = _MissingKoala()  # type: ignore[attr-defined]  # the name is new to the class


class DjangoPipeline(Pipeline):
    """A pipeline that knows when Django's databases commit: an action waits for every transaction that is open."""

    def when_committed(self, action: Callable[[], None]) -> None:
        # Outside atomic(), Django's on_commit() would connect to the database, which raises in an async view.
        pending = {
            connection.alias
            for connection in connections.all(initialized_only=True)
            if connection.in_atomic_block
        }
        if not pending:
            action()

        def committed(alias: str) -> None:
            pending.remove(alias)
            if not pending:
                action()

        for alias in tuple(pending):
            transaction.on_commit(partial(committed, alias), using=alias)


class DjangoClient(KoalaClient):
    """A client whose contexts take `on_commit=True`."""

    _pipeline_class = DjangoPipeline


class KoalaMiddleware:
    """First in `MIDDLEWARE`, so that every response passes it.

    Raises:
        KoalaConfigError: a setting is missing or malformed.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse | AsyncGetResponse) -> None:
        self.get_response: Any = get_response
        self.client = DjangoClient(loaded_config())
        setting_changed.connect(self._setting_changed)
        explain_missing_koala()
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)
        else:
            require_sync(self.client.config)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._async:
            return self.__acall__(request)
        response: HttpResponseBase
        head = DjangoHead(request)
        outer = _outer_context(request, head)
        if outer is not None:
            join(self.client, outer, head)
            self._attach(outer, request)
            response = self.get_response(request)
            outer._user = head.user
            return response
        exchange = self._open(request, head)
        if self.client._asks_consent:
            exchange.ask_consent()
        token = current.set(exchange.context)
        try:
            response = self.get_response(request)
        except BaseException:  # a client that has left, a worker's timeout: there is no response to close
            exchange.end()
            raise
        finally:
            current.reset(token)
        return _processed(exchange, response)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase
        head = DjangoHead(request)
        outer = _outer_context(request, head)
        if outer is not None:
            await join_async(self.client, outer, head)
            self._attach(outer, request)
            response = await self.get_response(request)
            outer._user = head.user
            return response
        exchange = self._open(request, head)
        if self.client._asks_consent:
            await exchange.ask_consent_async()
        token = current.set(exchange.context)
        try:
            response = await self.get_response(request)
        except BaseException:  # a client that has left, a worker's timeout: there is no response to close
            exchange.end()
            raise
        finally:
            current.reset(token)
        return _processed(exchange, response)

    def _setting_changed(self, *, setting: str, **_: Any) -> None:
        """A test overrides a setting, or stops to. Only tests send this signal."""
        if not setting.startswith(PREFIX) and setting != "USE_X_FORWARDED_HOST":
            return
        try:
            config = loaded_config()
        except KoalaConfigError:
            return  # the next middleware that is made raises it; this one may belong to an earlier test
        if config != self.client.config:
            self.client = DjangoClient(config)

    def _attach(self, outer: KoalaContext, request: HttpRequest) -> None:
        """Give the view the outer Koala's context. Only Django's pipeline knows when a transaction commits."""
        request.koala = outer  # type: ignore[attr-defined]  # requests take any attribute
        outer._sink = self.client._pipeline

    def _open(self, request: HttpRequest, head: DjangoHead) -> _DjangoExchange:
        exchange = _DjangoExchange(self.client, head)
        exchange.request, exchange.request_close = request, request.close
        request.koala = exchange.context  # type: ignore[attr-defined]  # requests take any attribute
        request.close = exchange.close  # type: ignore[method-assign]  # on this one object
        return exchange


class _DjangoExchange(Exchange):
    """An exchange that ends when Django closes the request, or when an unclosed response is garbage.

    Django closes the request after the last byte, under WSGI and ASGI alike. Closing the response does not count: a
    middleware outside ours may send another one, and a caching one pickles everything attached to the response.

    Attributes:
        original: The view's own response, kept alive while our copy is sent.
    """

    __slots__ = ("original", "request", "request_close", "response")

    original: HttpResponseBase
    request: HttpRequest
    response: ReferenceType[HttpResponseBase] | None
    request_close: Callable[[], None]

    def close(self) -> None:
        """Replaces this request's `close`."""
        # Breaks the request's cycle with us, which would cost the garbage collector 3 µs, a third of an exchange.
        # Not by `del`, which costs 0.5 µs more: Python then makes a separate dict for the instance.
        self.request.close = _do_nothing  # type: ignore[method-assign]  # on this one object
        self.response = None
        try:
            self.request_close()
        finally:
            self.end()

    def response_gone(self, _response: object) -> None:
        """Django's development server does not close a response whose client has left before reading it."""
        self.end()


def _outer_context(request: HttpRequest, head: DjangoHead) -> KoalaContext | None:
    found = vars(request).get("koala") or request.META.get("koala")
    if found is None and (scope := getattr(request, "scope", None)) is not None:
        found = scope.get("koala")
    return outer_context(found, head) if found or current.get(None) else None


def _do_nothing() -> None:
    """Closing a request a second time has no effect."""


def _processed(exchange: _DjangoExchange, response: HttpResponseBase) -> HttpResponseBase:
    exchange.status = response.status_code
    if exchange.processes_response():
        head = DjangoResponse(response)
        exchange.process_response(head)
        if head.response is not response:
            exchange.original, response = response, head.response
    if isinstance(response, StreamingHttpResponse) and getattr(response, "file_to_stream", None) is None:
        _stream_in_context(exchange, response)
    if exchange.context._calls:
        exchange.persist()
    exchange.response = ref(response, exchange.response_gone)
    return response


def _stream_in_context(exchange: Exchange, response: StreamingHttpResponse) -> None:
    """Set the context while the app makes each chunk and while it closes the response. Not for files."""
    close = response.close

    def close_in_context() -> None:
        with as_current(exchange.context):
            close()

    response.close = close_in_context  # type: ignore[method-assign]  # on this one object
    chunks: Any = response.streaming_content
    if response.is_async:
        response.streaming_content = _async_chunks(exchange, chunks)
    else:
        response.streaming_content = _chunks(exchange, chunks)


def _chunks(exchange: Exchange, chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        while True:
            with as_current(exchange.context):
                try:
                    chunk = next(chunks)
                except StopIteration:
                    break
            if exchange.context._calls:
                exchange.persist()
            yield chunk
            exchange.flush_if_due()
    finally:
        exchange.end()  # a server may leave a stream unfinished and unclosed


async def _async_chunks(exchange: Exchange, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        while True:
            with as_current(exchange.context):
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
            if exchange.context._calls:
                exchange.persist()
            yield chunk
            exchange.flush_if_due()
    finally:
        exchange.end()  # as above


class DjangoHead(WsgiHead):
    """A request as Django's META, except for what that lacks under ASGI."""

    __slots__ = ("_request",)

    def __init__(self, request: HttpRequest) -> None:
        self._environ = request.META
        self._request = request

    @property
    def scheme(self) -> str:
        return self._request.scheme or "http"

    @property
    def path(self) -> str:
        return self._request.path

    @property
    def path_in_app(self) -> str:
        return self._request.path_info

    @property
    def user(self) -> object:
        # Set by login() or logout(), or cached by a look-up. Evaluating the lazy user would be a query.
        found = vars(self._request)
        user = found.get("user")
        if user is not None and not isinstance(user, LazyObject):
            return user
        return found.get("_cached_user") or found.get("_acached_user")


class DjangoResponse:
    """A response's head as Django holds it: cookies apart from headers, so that its test client sees ours.

    Attributes:
        response: The response to send: a copy once it is changed, since a view may return the same to everybody.
    """

    __slots__ = ("_may_be_reused", "response")

    def __init__(self, response: HttpResponseBase) -> None:
        self.response = response
        self._may_be_reused = not getattr(response, "streaming", True)  # a stream is sent once

    def fields(self) -> list[tuple[str, str]]:
        return [(name.lower(), value) for name, value in self.response.headers.items()]

    def sets_cookie(self, name: str) -> bool:
        return name in self.response.cookies

    def set_cookie(self, cookie: ProfileCookie) -> None:
        _, _, attributes = cookie.header().partition(";")
        morsel: Morsel[str] = Morsel()
        morsel.set(COOKIE_NAME, cookie.value, cookie.value)
        for attribute in attributes.split(";"):
            name, _, value = attribute.strip().partition("=")
            morsel[name] = value or True
        self._copy_if_reused()
        cookies = self.response.cookies
        # Django keeps one cookie under each key; a cookie and its host-only twin have the same name.
        cookies[f"{COOKIE_NAME} of {cookie.domain}" if COOKIE_NAME in cookies else COOKIE_NAME] = morsel

    def set_header(self, name: str, value: str) -> None:
        self._copy_if_reused()
        self.response.headers[name] = value

    def _copy_if_reused(self) -> None:
        if self._may_be_reused:
            self.response = _with_own_head(self.response)
            self._may_be_reused = False


def _with_own_head(response: HttpResponseBase) -> HttpResponseBase:
    # Not copy.copy(), which leaves out attributes that cannot be pickled.
    own: HttpResponseBase = object.__new__(type(response))
    state = object.__getstate__(response)  # its attributes, or these and its slots
    vars(own).update(vars(response))
    for name, value in state[1].items() if isinstance(state, tuple) else ():
        setattr(own, name, value)
    own.headers = type(response.headers)(response.headers)
    own.cookies = type(response.cookies)(response.cookies)
    return own


def loaded_config() -> KoalaConfig:
    """The configuration by Django's current settings and the environment.

    Raises:
        KoalaConfigError: a setting is missing or malformed.
    """
    return KoalaConfig.load({}, koala_settings())


def koala_settings() -> dict[str, object]:
    """Django's `KOALA_` settings, for `KoalaConfig.load`. Django's own USE_X_FORWARDED_HOST is a default."""
    found = {name: getattr(settings, name) for name in dir(settings) if name.startswith(PREFIX)}
    if settings.USE_X_FORWARDED_HOST and _TRUST_FORWARDED_HOST not in os.environ:
        found.setdefault(_TRUST_FORWARDED_HOST, True)
    return found
