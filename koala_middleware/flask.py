"""Flask: `Koala(app)`, or `koala.init_app(app)` in an app factory; settings in `app.config["KOALA_…"]`.

Wraps the app's `wsgi_app` and adds one property to its request class. The rest is in wsgi.py.
"""

from __future__ import annotations

from typing import Any, cast

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
        app.request_class = type("KoalaRequest", (_KoalaRequestMixin, app.request_class), {})


def _check_unchanged(installed: KoalaConfig, config: KoalaConfig) -> None:
    changed = [setting for setting in SETTINGS if getattr(config, setting) != getattr(installed, setting)]
    if changed:
        raise RuntimeError(
            f"This app has Koala already, with other settings: {', '.join(changed)}. Call Koala(app) or "
            "koala.init_app(app) once, with all settings"
        )


def _remember_user(response: Response) -> Response:
    """Pass on the user whom Flask-Login has loaded, if the app has asked for them."""
    flask.request.environ["koala.user"] = flask.g.get("_login_user")
    return response


class _KoalaRequestMixin:
    environ: dict[str, Any]

    @property
    def koala(self) -> KoalaContext:
        """This request's Koala context."""
        context = context_of(self.environ)
        if context is None:
            raise KoalaNotInstalledError("Koala(app), and let the request come through app.wsgi_app")
        return context


class KoalaRequest(_KoalaRequestMixin, Request):
    """For annotations: a Flask request with its `koala`."""


# Flask's own `request`, typed with its `koala`.
request = cast(KoalaRequest, flask.request)
