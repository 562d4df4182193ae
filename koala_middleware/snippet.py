"""The HTML that brings the browser script into a page: a queue for early calls, and the script itself.

Knows no framework and no collector: the script is whatever the endpoint serves at `/v1/{key}/sdk.js`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from koala_middleware.config import validators
from koala_middleware.errors import KoalaConfigError

# Until the script is there, `ko` is a list that writes calls down; the script plays them back in order.
# Nothing is filled in here, so nobody's text can become code.
_QUEUE = Markup(
    "(function(){if(window.ko)return;var ko=window.ko=[];"
    '["identify","track","page","qualify","reset","ready"].forEach(function(name){'
    "ko[name]=function(){ko.push([name].concat([].slice.call(arguments)));return ko}})})()"
)


def snippet(public_api_key: str, endpoint: str, nonce: str | None = None) -> Markup:
    """
    Two script tags for a page's head, safe to insert as they are: templates do not escape them again.

    Args:
        public_api_key: As your workspace shows it, `"pk_1a2b3c"`.
        endpoint: Where the script is and where it sends, `"https://collector.example.com"`.
        nonce: This response's nonce, where a Content-Security-Policy names one. The policy also has to
            allow `connect-src` to the endpoint.
    Raises:
        KoalaConfigError: The key or the endpoint is malformed; it says what is expected.
    """
    key = _checked("public_api_key", validators.api_key, public_api_key)
    host = _checked("endpoint", validators.url, endpoint)
    attribute = Markup(' nonce="{}"').format(nonce) if nonce else Markup()
    return Markup('<script{}>{}</script>\n<script{} async src="{}"></script>').format(
        attribute, _QUEUE, attribute, f"{host}/v1/{quote(key, safe='')}/sdk.js"
    )


def _checked(name: str, check: Callable[[object], Any], value: object) -> str:
    try:
        return str(check(value))
    except validators.InvalidValueError as invalid:
        raise KoalaConfigError(name, invalid.describe(value), str(invalid)) from None
