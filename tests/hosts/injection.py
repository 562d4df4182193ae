"""A pytest plugin for other projects' suites: every app they build gets our middleware, unasked.

`KOALA_INJECT=0` leaves them alone, to see what fails without us.
"""

from __future__ import annotations

import os
from typing import Any

SETTINGS: dict[str, Any] = {"public_api_key": "pk_hosts", "delivery": "off"}


def pytest_configure() -> None:
    if os.environ.get("KOALA_INJECT") != "0":
        _inject_starlette()
        _inject_flask()
        _inject_werkzeug()


def _inject_starlette() -> None:
    from starlette.applications import Starlette

    from koala_middleware.asgi import KoalaMiddleware

    build = Starlette.build_middleware_stack

    def build_with_koala(self: Starlette) -> Any:
        return KoalaMiddleware(build(self), **SETTINGS)

    Starlette.build_middleware_stack = build_with_koala  # type: ignore[method-assign]  # what this plugin is for


def _inject_flask() -> None:
    from flask import Flask

    from koala_middleware.flask import Koala

    begin = Flask.__init__

    def begin_with_koala(self: Flask, *arguments: Any, **keywords: Any) -> None:
        begin(self, *arguments, **keywords)
        Koala(self, **SETTINGS)

    Flask.__init__ = begin_with_koala  # type: ignore[method-assign]  # what this plugin is for


def _inject_werkzeug() -> None:
    """Werkzeug builds no apps: every one that its test client is given."""
    from werkzeug.test import Client

    from koala_middleware.wsgi import KoalaMiddleware

    begin = Client.__init__

    def begin_with_koala(self: Client, application: Any, *arguments: Any, **keywords: Any) -> None:
        if type(self) is Client:  # a framework's own client has a framework's app
            application = KoalaMiddleware(application, **SETTINGS)
        begin(self, application, *arguments, **keywords)

    Client.__init__ = begin_with_koala  # type: ignore[method-assign]  # what this plugin is for
