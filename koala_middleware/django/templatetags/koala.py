"""`{% koala_snippet %}`: the browser script in a page's head, with the site's own key and endpoint."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString, mark_safe

from koala_middleware.django.middleware import loaded_config
from koala_middleware.snippet import snippet

register = template.Library()


@register.simple_tag
def koala_snippet(nonce: str | None = None) -> SafeString:
    """Two script tags; nothing where Koala is off.

    Args:
        nonce: This response's, where a Content-Security-Policy names one: `{% koala_snippet request.csp_nonce %}`.
    """
    config = loaded_config()
    if not config.enabled:
        return SafeString("")
    made = snippet(config.public_api_key, config.endpoint, nonce)
    return mark_safe(made)  # noqa: S308  (snippet() escapes what it fills in)
