"""The system checks of the Koala settings, for `manage.py check`.

| id | means |
|---|---|
| koala.E001 | a setting is missing or malformed: the site would not start |
| koala.E002 | the middleware for ASGI or WSGI apps is in MIDDLEWARE, which does not read Django's settings |
| koala.W001 | the middleware is not in MIDDLEWARE: nothing is recorded |
| koala.W002 | a KOALA_ setting that does not exist, perhaps misspelled |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  (Django's names)

from koala_middleware.config.settings import PREFIX, SETTINGS, did_you_mean
from koala_middleware.django.middleware import koala_settings, loaded_config
from koala_middleware.errors import KoalaConfigError

MIDDLEWARE = "koala_middleware.django.KoalaMiddleware"
_OTHER_MIDDLEWARE = {"koala_middleware.asgi.KoalaMiddleware", "koala_middleware.wsgi.KoalaMiddleware"}
_NAMES = [PREFIX + name.upper() for name in SETTINGS]


def check_settings(**_: Any) -> list[CheckMessage]:
    return [*_malformed(), *_of_another_door(), *_not_installed(), *_unknown()]


def _malformed() -> Iterator[CheckMessage]:
    try:
        loaded_config()
    except KoalaConfigError as error:
        name = PREFIX + error.setting.upper()
        problem = f"{name}: {error.setting} is {error.given}, expected {error.expected}."
        yield Error(problem, hint=error.what_to_do, id="koala.E001")


def _of_another_door() -> Iterator[CheckMessage]:
    for name in sorted(_OTHER_MIDDLEWARE.intersection(settings.MIDDLEWARE)):
        problem = f"{name} is not a Django middleware."
        yield Error(problem, hint=f'Put "{MIDDLEWARE}" in its place.', id="koala.E002")


def _not_installed() -> Iterator[CheckMessage]:
    if MIDDLEWARE not in settings.MIDDLEWARE:
        yield Warning(
            "Koala's middleware is not in MIDDLEWARE, so nothing is recorded and request.koala is missing.",
            hint=f'Put "{MIDDLEWARE}" first in MIDDLEWARE.',
            id="koala.W001",
        )


def _unknown() -> Iterator[CheckMessage]:
    for name in sorted(koala_settings().keys() - set(_NAMES)):
        problem = f"{name} is not a Koala setting and has no effect."
        yield Warning(problem, hint=did_you_mean(name), id="koala.W002")
