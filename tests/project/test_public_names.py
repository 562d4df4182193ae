"""The names that users may rely on. A change here changes the documentation and the changelog, too."""

from __future__ import annotations

from typing import Any

import pytest

import koala_middleware
from koala_middleware import (
    AccountContext,
    KoalaApiError,
    KoalaClient,
    KoalaConfigError,
    KoalaContext,
    KoalaErasureError,
    KoalaNotInstalledError,
    asgi,
    django,
    fastapi,
    flask,
    wsgi,
)
from koala_middleware.calls.session import AccountSession, PersonSession


def public_names(of: object) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def test_the_package_offers_these_names() -> None:
    assert set(koala_middleware.__all__) == {
        "AccountContext",
        "KoalaApiError",
        "KoalaClient",
        "KoalaConfig",
        "KoalaConfigError",
        "KoalaContext",
        "KoalaErasureError",
        "KoalaError",
        "KoalaNotInstalledError",
        "koala",
        "koala_event",
    }


CLIENT = KoalaClient(public_api_key="pk_test", delivery="off")
EXCEPTION = public_names(Exception())
CONTEXT = {
    *("identify", "track", "page", "account", "reset", "consent", "flush"),
    *("profile_id", "email", "consent_given", "is_new", "cookie_set", "was_reset", "enabled"),
}
ERROR = {"status", "temporary"}


@pytest.mark.parametrize(
    ("of", "names"),
    [
        pytest.param(KoalaContext, CONTEXT, id="KoalaContext"),
        pytest.param(AccountContext, {"identify", "track"}, id="AccountContext"),
        pytest.param(
            CLIENT,
            {"config", "person", "account", "qualify", "erase", "flush", "close", "stats", "health"},
            id="KoalaClient",
        ),
        pytest.param(PersonSession, set(), id="client.person()"),
        pytest.param(AccountSession, set(), id="client.account()"),
        pytest.param(asgi.KoalaMiddleware(None, CLIENT), {"app", "client"}, id="asgi"),  # type: ignore[arg-type]  # no app is called
        pytest.param(wsgi.KoalaMiddleware(None, CLIENT), {"app", "client"}, id="wsgi"),  # type: ignore[arg-type]  # as above
        pytest.param(flask.Koala(), {"init_app"}, id="flask"),
        pytest.param(django.KoalaMiddleware, {"async_capable", "sync_capable"}, id="django"),
        pytest.param(
            KoalaConfigError("mint", "'now'", "a time"),
            EXCEPTION | {"setting", "given", "expected", "what_to_do"},
            id="KoalaConfigError",
        ),
        pytest.param(KoalaNotInstalledError("how"), EXCEPTION, id="KoalaNotInstalledError"),
        pytest.param(KoalaApiError("late"), EXCEPTION | ERROR, id="KoalaApiError"),
        pytest.param(KoalaErasureError, EXCEPTION, id="KoalaErasureError"),
    ],
)
def test_an_object_offers_these_names(of: Any, names: set[str]) -> None:
    assert public_names(of) == names


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (fastapi, {"Koala", "KoalaMiddleware", "KoalaRequest"}),
        (django, {"KoalaMiddleware", "KoalaRequest"}),
    ],
)
def test_a_front_door_exports_these_names(module: Any, names: set[str]) -> None:
    assert set(module.__all__) == names
