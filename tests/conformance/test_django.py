"""What only Django has: its settings in users' tests, its system checks, its template tag."""

from __future__ import annotations

from typing import Any

import conformance.apps.django_app  # noqa: F401  (configures Django)
from django.core.checks import run_checks
from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine
from django.test import RequestFactory
from django.test.utils import override_settings

from koala_middleware.django import KoalaMiddleware

INSTALLED = ["koala_middleware.django.KoalaMiddleware"]


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def cookies(site: Any) -> list[str]:
    return list(site(RequestFactory().get("/")).cookies)


def test_a_users_test_may_override_settings_of_a_site_that_runs() -> None:
    with override_settings(KOALA_PUBLIC_API_KEY="pk_test"):
        site = KoalaMiddleware(page)
        assert cookies(site) == ["ko_id"]
        with override_settings(KOALA_ENABLED=False):
            assert cookies(site) == []
        with override_settings(KOALA_MINT="never"):
            assert cookies(site) == []
        with override_settings(DEBUG=True):
            assert cookies(site) == ["ko_id"]
        assert cookies(site) == ["ko_id"]


def messages(**settings: Any) -> list[tuple[str | None, str, str | None]]:
    with override_settings(**settings):
        return [(it.id, it.msg, it.hint) for it in run_checks() if str(it.id).startswith("koala.")]


def test_the_checks_find_nothing_where_nothing_is_wrong() -> None:
    assert messages(KOALA_PUBLIC_API_KEY="pk_test", MIDDLEWARE=INSTALLED) == []


def test_a_malformed_setting_is_an_error_with_the_way_out() -> None:
    [(check, said, hint)] = messages(
        KOALA_PUBLIC_API_KEY="pk_test", KOALA_COOKIE_DOMAIN="http://example.com", MIDDLEWARE=INSTALLED
    )

    assert check == "koala.E001"
    assert said.startswith("KOALA_COOKIE_DOMAIN: cookie_domain is 'http://example.com'")
    assert hint
    assert "KOALA_COOKIE_DOMAIN" in hint


def test_a_missing_middleware_is_a_warning() -> None:
    [(check, _, hint)] = messages(KOALA_PUBLIC_API_KEY="pk_test", MIDDLEWARE=[])

    assert check == "koala.W001"
    assert hint == 'Put "koala_middleware.django.KoalaMiddleware" first in MIDDLEWARE.'


def test_a_misspelt_setting_is_a_warning_that_names_the_right_one() -> None:
    [(check, said, hint)] = messages(
        KOALA_PUBLIC_API_KEY="pk_test", KOALA_COOKIE_DOMIAN="example.com", MIDDLEWARE=INSTALLED
    )

    assert check == "koala.W002"
    assert said.startswith("KOALA_COOKIE_DOMIAN is no setting")
    assert hint == "Did you mean KOALA_COOKIE_DOMAIN?"


def rendered(template: str, **context: Any) -> str:
    engine = Engine(libraries={"koala": "koala_middleware.django.templatetags.koala"})
    return engine.from_string("{% load koala %}" + template).render(Context(context))


def test_the_template_tag_is_the_browser_script_of_this_site() -> None:
    with override_settings(KOALA_PUBLIC_API_KEY="pk_test", KOALA_ENDPOINT="https://collector.example.com"):
        assert 'src="https://collector.example.com/v1/pk_test/sdk.js"' in rendered("{% koala_snippet %}")
        assert rendered("{% koala_snippet nonce %}", nonce='a"b').count('nonce="a&#34;b"') == 2


def test_the_template_tag_is_nothing_where_koala_is_off() -> None:
    with override_settings(KOALA_ENABLED=False):
        assert rendered("{% koala_snippet %}") == ""
