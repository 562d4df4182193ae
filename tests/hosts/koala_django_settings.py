"""Settings for Django's own suite: its SQLite ones, and our middleware around every handler it makes."""

from __future__ import annotations

import os
from typing import Any

from django.core.handlers.base import BaseHandler
from test_sqlite import *  # type: ignore[import-not-found]  # noqa: F403  (lies beside Django's suite)

if os.environ.get("KOALA_INJECT") != "0":
    from koala_middleware.django import KoalaMiddleware

    load = BaseHandler.load_middleware

    def load_with_koala(self: Any, is_async: bool = False) -> None:
        load(self, is_async)
        self._middleware_chain = KoalaMiddleware(self._middleware_chain)

    BaseHandler.load_middleware = load_with_koala  # type: ignore[method-assign]  # what this module is for
