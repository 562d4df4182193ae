"""The Django middleware: translates between Django's request and response and the exchange; decides nothing.

Never touches the body, `request.user` or the session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http.cookies import Morsel
from typing import Any
from weakref import ReferenceType, ref

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.signals import setting_changed
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase, StreamingHttpResponse
from django.utils.functional import LazyObject

from koala_middleware.calls.context import KoalaContext, current, entered
from koala_middleware.client import KoalaClient
from koala_middleware.config.settings import PREFIX, KoalaConfig
from koala_middleware.errors import KoalaConfigError
from koala_middleware.exchange import Exchange
from koala_middleware.identity.consent import require_sync
from koala_middleware.identity.cookie import COOKIE_NAME, ProfileCookie
from koala_middleware.request.head import WsgiHead, wsgi_cookies

GetResponse = Callable[[HttpRequest], HttpResponseBase]
AsyncGetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class KoalaRequest(HttpRequest):
    """For annotations: a Django request with its `koala`."""

    koala: KoalaContext


class DjangoClient(KoalaClient):
    """A client beside a database that commits and rolls back."""

    def when_committed(self, then: Callable[[], None]) -> None:
        # Django's own on_commit() connects where no atomic() is open, only to find out: in an async view it raises,
        # and where the database is away. There is nothing to wait for then but a commit that Django tells nobody of.
        connection = transaction.get_connection()
        if connection.in_atomic_block:
            connection.on_commit(then)
        else:
            then()


class KoalaMiddleware:
    """First in `MIDDLEWARE`, so that every response passes it.

    Raises:
        KoalaConfigError: a setting is missing or malformed.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse | AsyncGetResponse) -> None:
        self.get_response: Any = get_response  # sync or async, as async_mode says
        self.client = DjangoClient(loaded_config())
        setting_changed.connect(self._setting_changed)
        self.async_mode = iscoroutinefunction(get_response)
        if self.async_mode:
            markcoroutinefunction(self)
        else:
            require_sync(self.client.config)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.async_mode:
            return self.__acall__(request)
        response: HttpResponseBase
        if hasattr(request, "koala"):
            response = self.get_response(request)
            return response
        exchange = self._open(request)
        if self.client.asks_consent:
            exchange.ask_consent()
        token = current.set(exchange.context)
        try:
            response = self.get_response(request)
        except BaseException:  # a client that has left, a worker's timeout: there is no response to close
            exchange.end()
            raise
        finally:
            current.reset(token)
        return _amended(exchange, response)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase
        if hasattr(request, "koala"):
            response = await self.get_response(request)
            return response
        exchange = self._open(request)
        if self.client.asks_consent:
            await exchange.ask_consent_async()
        token = current.set(exchange.context)
        try:
            response = await self.get_response(request)
        except BaseException:  # a client that has left, a worker's timeout: there is no response to close
            exchange.end()
            raise
        finally:
            current.reset(token)
        return _amended(exchange, response)

    def _setting_changed(self, *, setting: str, **_: Any) -> None:
        """A user's test has overridden a setting, or ends to. Only tests send this."""
        if not setting.startswith(PREFIX):
            return
        try:
            config = loaded_config()
        except KoalaConfigError:
            return  # the next middleware that is made says so; this one may be an earlier test's
        if config != self.client.config:
            self.client = DjangoClient(config)

    def _open(self, request: HttpRequest) -> _DjangoExchange:
        exchange = _DjangoExchange(self.client, wsgi_cookies(request.META), DjangoHead, request)
        exchange.request, exchange.request_close = request, request.close
        request.koala = exchange.context  # type: ignore[attr-defined]  # a request takes any attribute
        request.close = exchange.close  # type: ignore[method-assign]  # on this one object
        return exchange


class _DjangoExchange(Exchange):
    """An exchange that ends when Django closes the request, or when a response that nobody closes is gone.

    The first comes after the last byte, under WSGI and ASGI alike. Django closing the response does not count: a
    middleware outside ours may answer with another one, and one that caches responses pickles all that is tied to them.

    Attributes:
        given: Whose copy goes out; lives as long, since its owner may wait for it to go.
    """

    __slots__ = ("given", "request", "request_close", "response")

    given: HttpResponseBase
    request: HttpRequest
    response: ReferenceType[HttpResponseBase] | None
    request_close: Callable[[], None]

    def close(self) -> None:
        """Stands as this request's `close`."""
        # Or the request would hold itself, and wait for the garbage collector: worth 3 µs, a third of an exchange.
        # Taking the name out again would cost 0.4 µs more: an instance that lost one has a dict of its own.
        self.request.close = _closed  # type: ignore[method-assign]  # on this one object
        self.response = None  # whose going tells nothing more
        try:
            self.request_close()
        finally:
            self.end()

    def response_gone(self, _response: object) -> None:
        """Django's development server closes no response whose client has left without the body being read."""
        self.end()


def _closed() -> None:
    """Closing a request a second time does nothing."""


def _amended(exchange: _DjangoExchange, response: HttpResponseBase) -> HttpResponseBase:
    exchange.status = response.status_code
    if exchange.amends():
        head = DjangoResponse(response)
        exchange.amend(head)
        if head.response is not response:
            exchange.given, response = response, head.response
    if isinstance(response, StreamingHttpResponse) and getattr(response, "file_to_stream", None) is None:
        _stream_in_context(exchange, response)
    if exchange.context.calls:
        exchange.store()
    exchange.response = ref(response, exchange.response_gone)
    return response


def _stream_in_context(exchange: Exchange, response: StreamingHttpResponse) -> None:
    """Let the code that makes the body find its context, chunk by chunk and when it is closed. Files are left
    to the server."""
    close = response.close

    def close_in_context() -> None:
        with entered(exchange.context):
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
            with entered(exchange.context):
                try:
                    chunk = next(chunks)
                except StopIteration:
                    break
            if exchange.context.calls:
                exchange.store()
            yield chunk
            exchange.chunk_sent()
    finally:
        exchange.end()  # or what a server leaves in the middle, and unclosed, would go with it


async def _async_chunks(exchange: Exchange, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        while True:
            with entered(exchange.context):
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
            if exchange.context.calls:
                exchange.store()
            yield chunk
            exchange.chunk_sent()
    finally:
        exchange.end()  # as above


class DjangoHead(WsgiHead):
    """A request as Django holds it: its META, but for what that lacks or holds otherwise under ASGI."""

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
    def user(self) -> object:
        # Whom the app has put there, by login() and logout() say, or what a look-up has kept: asking the lazy one
        # that stands there before would be a query.
        found = vars(self._request)
        user = found.get("user")
        if user is not None and not isinstance(user, LazyObject):
            return user
        return found.get("_cached_user") or found.get("_acached_user")


class DjangoResponse:
    """A response's head as Django holds it: cookies apart from headers, so that its test client sees ours.

    Attributes:
        response: The one to send: a copy once it is changed, since a site may return one and the same to everybody.
    """

    __slots__ = ("_may_be_kept", "response")

    def __init__(self, response: HttpResponseBase) -> None:
        self.response = response
        self._may_be_kept = not getattr(response, "streaming", True)  # a stream goes out once

    def values(self, name: str) -> list[str]:
        return [self.response.headers[name]] if name in self.response.headers else []

    def sets_cookie(self, name: str) -> bool:
        return name in self.response.cookies

    def set_cookie(self, cookie: ProfileCookie) -> None:
        _, _, attributes = cookie.header().partition(";")
        morsel: Morsel[str] = Morsel()
        morsel.set(COOKIE_NAME, cookie.value, cookie.value)
        for attribute in attributes.split(";"):
            name, _, value = attribute.strip().partition("=")
            morsel[name] = value or True
        self._leave_the_kept_one()
        cookies = self.response.cookies
        # Django keeps one cookie under each key; a cookie and its host-only twin have the same name.
        cookies[f"{COOKIE_NAME} of {cookie.domain}" if COOKIE_NAME in cookies else COOKIE_NAME] = morsel

    def set_header(self, name: str, value: str) -> None:
        self._leave_the_kept_one()
        self.response.headers[name] = value

    def _leave_the_kept_one(self) -> None:
        if self._may_be_kept:
            self.response = _with_its_own_head(self.response)
            self._may_be_kept = False


def _with_its_own_head(response: HttpResponseBase) -> HttpResponseBase:
    # Not copy.copy(), which leaves out what no pickle may have.
    own: HttpResponseBase = object.__new__(type(response))
    state = object.__getstate__(response)  # its attributes, or these and its slots
    vars(own).update(vars(response))
    for name, value in state[1].items() if isinstance(state, tuple) else ():
        setattr(own, name, value)
    own.headers = type(response.headers)(response.headers)
    own.cookies = type(response.cookies)(response.cookies)
    return own


def loaded_config() -> KoalaConfig:
    """The configuration as Django's settings and the environment say it now.

    Raises:
        KoalaConfigError: a setting is missing or malformed.
    """
    return KoalaConfig.load({}, koala_settings())


def koala_settings() -> dict[str, object]:
    """Django's settings of ours, for `KoalaConfig.load`."""
    return {name: getattr(settings, name) for name in dir(settings) if name.startswith(PREFIX)}
