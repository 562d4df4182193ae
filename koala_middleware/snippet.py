"""The HTML that brings the browser script into a page: checks the settings, and has the tags built.

Must not know a framework or the collector: the script is whatever the endpoint serves at `/v1/{key}/sdk.js`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from koala_middleware.config import validators
from koala_middleware.errors import KoalaConfigError
from koala_middleware.protocol.script_tags import script_tags


def snippet(public_api_key: str, endpoint: str, nonce: str | None = None) -> Markup:
    """Two script tags for a page's head, marked as safe for templates.

    Args:
        public_api_key: As your workspace shows it, `"pk_1a2b3c"`.
        endpoint: The server of the script, to which it also sends: `"https://collector.example.com"`.
        nonce: This response's nonce, if a Content-Security-Policy requires one. The policy also has to
            allow `connect-src` to the endpoint.
    Raises:
        KoalaConfigError: the key or the endpoint is malformed.
    """
    key = _checked("public_api_key", validators.api_key, public_api_key)
    host = _checked("endpoint", validators.url, endpoint)
    return script_tags(key, host, nonce)


def _checked(name: str, check: Callable[[object], Any], value: object) -> str:
    try:
        return str(check(value))
    except validators.InvalidValueError as invalid:
        raise KoalaConfigError(name, invalid.describe(value), str(invalid)) from None
