"""What a user's editor and type checker see. Only checked, never run: `make types` runs mypy and pyright."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, assert_type

from django.http import HttpResponse
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette

from koala_middleware import KoalaClient, KoalaConfig, KoalaContext, koala
from koala_middleware.asgi import KoalaMiddleware
from koala_middleware.asgi import KoalaRequest as StarletteRequest
from koala_middleware.django import KoalaRequest as DjangoRequest
from koala_middleware.fastapi import Koala as KoalaDependency
from koala_middleware.flask import Koala, request
from koala_middleware.wsgi import KoalaMiddleware as WsgiMiddleware

fastapi_app = FastAPI()
fastapi_app.add_middleware(KoalaMiddleware, public_api_key="pk_test")
Starlette().add_middleware(KoalaMiddleware, public_api_key="pk_test")
flask_app = Flask(__name__)
Koala(flask_app, public_api_key="pk_test")
wrapped = WsgiMiddleware(flask_app.wsgi_app, public_api_key="pk_test")


@fastapi_app.post("/login")
def log_in_on_fastapi(visitor: KoalaDependency, asked: StarletteRequest) -> None:
    assert_type(visitor, KoalaContext)
    assert_type(asked.koala, KoalaContext)
    visitor.identify("ada@example.com", {"name": "Ada"})
    visitor.identify({"plan": "pro"})
    visitor.track("Logged In", {"method": "password"})


@flask_app.post("/login")
def log_in_on_flask() -> str:
    assert_type(request.koala, KoalaContext)
    return request.koala.profile_id or ""


def log_in_on_django(asked: DjangoRequest) -> HttpResponse:
    assert_type(asked.koala, KoalaContext)
    asked.koala.track("Logged In", on_commit=True)
    return HttpResponse()


def far_from_a_request() -> str | None:
    assert_type(koala, KoalaContext)
    with KoalaClient(public_api_key="pk_test").person(email="ada@example.com") as person:
        assert_type(person, KoalaContext)
        person.account(domain="example.com").track("Invoice Paid", {"amount": 900})
    return koala.email


def set_as_the_readme_does() -> None:
    config = KoalaConfig(
        public_api_key="pk_test",
        cookie_domain=["example.com", "example.org"],
        exclude_paths=["/health", "/static/*"],
        trusted_proxies=["10.0.0.0/8"],
        allow_properties={"Paid": ["amount"]},
        sample_rate={"Scrolled": 0.1},
    )
    assert_type(config.cookie_domain, Literal["auto"] | str | tuple[str, ...] | None)
    assert_type(config.exclude_paths, tuple[str, ...])
    assert_type(config.trusted_proxies, tuple[IPv4Network | IPv6Network, ...])
    assert_type(config.allow_properties, Mapping[str, tuple[str, ...]] | None)


def mistakes() -> None:
    KoalaConfig(exclude_paths="/health")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    koala.identify(1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    koala.track()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    koala.track("Logged In", "password")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    koala.page(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
