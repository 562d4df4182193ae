"""The HTML that loads the browser script: a queue for early calls, and the script itself.

Must not know settings: the key and the endpoint are checked by whoever asks.
"""

from __future__ import annotations

from markupsafe import Markup

from koala_middleware.protocol.paths import script_path

# Until the script is loaded, `ko` is a list that records calls; the script replays them in order.
# Nothing is filled in here, so no text can become code.
_QUEUE = Markup(
    "(function(){if(window.ko)return;var ko=window.ko=[];"
    '["identify","track","page","qualify","reset","ready"].forEach(function(name){'
    "ko[name]=function(){ko.push([name].concat([].slice.call(arguments)));return ko}})})()"
)


def script_tags(public_api_key: str, endpoint: str, nonce: str | None = None) -> Markup:
    """Two script tags for a page's head. `endpoint` is a base URL without a trailing slash."""
    attribute = Markup(' nonce="{}"').format(nonce) if nonce else Markup()
    return Markup('<script{}>{}</script>\n<script{} async src="{}"></script>').format(
        attribute, _QUEUE, attribute, endpoint + script_path(public_api_key)
    )
