"""What importing the package loads: seen in a fresh process, by the names in sys.modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = {"flask", "django", "fastapi", "starlette", "werkzeug", "uvicorn"}
HTTP_CLIENTS = {"requests", "urllib3", "pycurl", "httpx", "httpx2", "aiohttp", "http.client"}
LATER = {"publicsuffixlist", "uuid6", "celery", "confluent_kafka", "redis", "importlib.metadata"}


def loaded_by(statement: str) -> set[str]:
    """Modules that `statement` loads in a fresh interpreter, beside those Python itself begins with."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    finished = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(finished.stdout.split())


def test_the_package_loads_no_framework_and_no_http_client() -> None:
    loaded = loaded_by("import koala_middleware")

    assert "koala_middleware" in loaded
    assert not loaded & (FRAMEWORKS | HTTP_CLIENTS | LATER)


def test_a_configuration_loads_no_framework_and_no_http_client() -> None:
    loaded = loaded_by("from koala_middleware import KoalaConfig; KoalaConfig(public_api_key='pk_test')")

    assert not loaded & (FRAMEWORKS | HTTP_CLIENTS | LATER)


@pytest.mark.parametrize(
    ("module", "framework"),
    [
        ("koala_middleware.asgi", "starlette.requests"),
        ("koala_middleware.wsgi", "json"),
        ("koala_middleware.flask", "flask"),
        ("koala_middleware.fastapi", "fastapi"),
        ("koala_middleware.django", "django.http, asgiref.sync"),
    ],
)
def test_an_adapter_loads_no_framework_but_its_own_and_no_http_client(module: str, framework: str) -> None:
    loaded = loaded_by(f"import {framework}; before = set(sys.modules); import {module}")

    assert module in loaded
    assert not loaded & (FRAMEWORKS | HTTP_CLIENTS | LATER)


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("KoalaClient", "client"),
        ("KoalaConfig", "config.settings"),
        ("KoalaConfigError", "errors"),
        ("KoalaContext", "calls.context"),
        ("koala", "calls.local_proxy"),
    ],
)
def test_public_names_are_loaded_when_asked_for(name: str, home: str) -> None:
    assert f"koala_middleware.{home}" in loaded_by(f"from koala_middleware import {name}")


def test_a_class_of_starlette_is_changed_by_a_middleware_and_not_by_an_import() -> None:
    code = """
from starlette.requests import HTTPConnection
from koala_middleware.asgi import KoalaMiddleware

print(hasattr(HTTPConnection, "koala"))
KoalaMiddleware(None, public_api_key="pk_test", delivery="off")
print(hasattr(HTTPConnection, "koala"))
"""
    finished = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == ["False", "True"]
