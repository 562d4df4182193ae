"""The site in Django: sync and async views, under WSGI and ASGI; `request.koala`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import django
from conformance.asgi_chunks import as_async
from conformance.exchange import Answer, Ask, Send
from conformance.handlers import ROUTES, Reply, resolved, sorry
from conformance.switchboard import AsgiSwitchboard, WsgiSwitchboard
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test.utils import override_settings
from django.urls import path as url

if not django_settings.configured:
    django_settings.configure(
        SECRET_KEY="for tests",
        DEBUG=False,
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "koala_middleware.django"],
    )
    django.setup(set_prefix=False)


def sync_view(handler: Callable[[Any], Reply]) -> Callable[[HttpRequest], HttpResponseBase]:
    def answer(request: HttpRequest) -> HttpResponseBase:
        return response_of(handler(request), under_asgi=hasattr(request, "scope"))

    return answer


def async_view(handler: Callable[[Any], Reply]) -> Callable[[HttpRequest], Any]:
    async def answer(request: HttpRequest) -> HttpResponseBase:
        return response_of(handler(request), under_asgi=hasattr(request, "scope"))

    return answer


def response_of(reply: Reply, *, under_asgi: bool) -> HttpResponseBase:
    response: HttpResponseBase
    if reply.chunks is not None:
        chunks: Any = as_async(reply.chunks()) if under_asgi else reply.chunks()
        response = StreamingHttpResponse(chunks, status=reply.status, content_type="text/plain")
    elif reply.file is not None:
        response = FileResponse(reply.file.open("rb"), content_type="text/plain")
    else:
        response = HttpResponse(reply.body, status=reply.status, content_type="text/plain")
    for name, value in reply.headers:
        if name == "Set-Cookie":
            response.cookies.load(value)
        else:
            response.headers[name] = value
    return response


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def error_page(request: HttpRequest) -> HttpResponseBase:
    return response_of(sorry(request), under_asgi=False)  # type: ignore[arg-type]  # the plain type has no `koala`


class Urls:
    """What Django takes as ROOT_URLCONF: a module, or anything that looks like one."""

    def __init__(self, view: Callable[[Callable[[Any], Reply]], Any]) -> None:
        self.urlpatterns = [url(path[1:], view(handler)) for path, handler in ROUTES.items()]
        self.urlpatterns.append(url("echo", echo))
        self.handler500 = error_page


SYNC = Urls(sync_view)
ASYNC = Urls(async_view)
KOALA = "koala_middleware.django.KoalaMiddleware"


def all_settings(urls: Urls, settings: dict[str, Any] | None) -> dict[str, Any]:
    named = {f"KOALA_{name.upper()}": value for name, value in resolved(settings or {}).items()}
    middleware = [] if settings is None else [KOALA]
    return {"ROOT_URLCONF": urls, "MIDDLEWARE": middleware, "ALLOWED_HOSTS": ["*"], **named}


@contextmanager
def configured(urls: Urls, settings: dict[str, Any] | None) -> Iterator[None]:
    """For Django's own test clients, which make their handler when the first request comes."""
    with override_settings(**all_settings(urls, settings)):
        yield


def without_koala(send: Send) -> Send:
    def bare(ask: Ask) -> Answer:
        with override_settings(MIDDLEWARE=[]):
            return send(ask)

    return bare


def build(handler: type[WSGIHandler] | type[ASGIHandler], urls: Urls) -> Callable[[Any], Any]:
    """For servers. Middleware reads its settings when the handler is made, and keeps them."""

    def built(settings: dict[str, Any] | None) -> Any:
        wanted = all_settings(urls, settings)
        for name, value in wanted.items():
            setattr(django_settings, name, value)
        try:
            return handler()
        finally:
            for name in wanted:
                if name.startswith("KOALA_"):
                    delattr(django_settings, name)

    return built


wsgi_sync = WsgiSwitchboard(build(WSGIHandler, SYNC))
wsgi_async = WsgiSwitchboard(build(WSGIHandler, ASYNC))
asgi_sync = AsgiSwitchboard(build(ASGIHandler, SYNC))
asgi_async = AsgiSwitchboard(build(ASGIHandler, ASYNC))
