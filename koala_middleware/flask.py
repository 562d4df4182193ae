"""Flask: `Koala(app)`, or `koala.init_app(app)` in an app factory; settings in `app.config["KOALA_…"]`.

Wraps the app's `wsgi_app` and adds one property to its request class. The rest is in wsgi.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import flask
from flask import Flask, Request, Response

from koala_middleware.calls.context import KoalaContext
from koala_middleware.calls.validation import check_exclusive
from koala_middleware.client import KoalaClient
from koala_middleware.config.settings import SETTINGS, KoalaConfig
from koala_middleware.errors import KoalaNotInstalledError
from koala_middleware.wsgi import KoalaMiddleware, context_of

EXTENSION = "koala"


class Koala:
    """The Flask extension. One instance serves any number of apps, each with its own settings.

    Args:
        client: A client to share, alone; else each app gets one of its own.
        settings: Win over `app.config` and the environment.
    Raises:
        KoalaConfigError: a setting is missing or malformed.
        TypeError: a keyword is not a setting, or would have no effect beside `client`.
    """

    def __init__(self, app: Flask | None = None, client: KoalaClient | None = None, **settings: Any) -> None:
        check_exclusive("client", client, KoalaClient, settings)
        self._client = client
        self._settings = settings
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add Koala to an app. A second time with the same settings has no effect.

        Raises:
            KoalaConfigError: a setting is missing or malformed.
            RuntimeError: the app has Koala already, with other settings.
        """
        config = self._client.config if self._client else KoalaConfig.load(self._settings, app.config)
        if EXTENSION in app.extensions:
            _check_unchanged(app.extensions[EXTENSION].config, config)
            return
        client = self._client or KoalaClient(config)
        app.extensions[EXTENSION] = client
        if client.config.identify_user:
            app.after_request(_remember_user)
        app.wsgi_app = KoalaMiddleware(app.wsgi_app, client)  # type: ignore[method-assign]  # Flask's documented way
        _add_request_property()


def _check_unchanged(installed: KoalaConfig, config: KoalaConfig) -> None:
    changed = [setting for setting in SETTINGS if getattr(config, setting) != getattr(installed, setting)]
    if changed:
        raise RuntimeError(
            f"This app has Koala already, with other settings: {', '.join(changed)}. Call Koala(app) or "
            "koala.init_app(app) once, with all settings"
        )


def _remember_user(response: Response) -> Response:
    """Tell the context whom Flask-Login has loaded, if the app has asked for them."""
    if (context := context_of(flask.request.environ)) is not None:
        context._user = flask.g.get("_login_user")
    return response


def _koala(request: Request) -> KoalaContext:
    """This request's Koala context.

    Raises:
        KoalaNotInstalledError: the request did not pass an app with Koala.
    """
    context = context_of(request.environ)
    if context is None:
        raise KoalaNotInstalledError(
            "Koala(app), and let the request come through app.wsgi_app. Those of Flask-SocketIO do "
            "if SocketIO(app) is made before Koala(app)"
        )
    return context


def _add_request_property() -> None:
    """Add `request.koala` to Flask's requests, unless the name is taken. A mounted app without Koala has it, too."""
    if not hasattr(Request, "koala"):
        Request.koala = property(_koala)  # type: ignore[attr-defined]  # the name is new to the class


if TYPE_CHECKING:

    class KoalaRequest(Request):
        """For annotations: a Flask request with its `koala`."""

        @property
        def koala(self) -> KoalaContext: ...
else:
    KoalaRequest = Request


# Flask's own `request`, typed with its `koala`.
request = cast(KoalaRequest, flask.request)
