"""Django's app: `INSTALLED_APPS = ["koala_middleware.django", …]` brings the system checks and the template tag.

The middleware works without it.
"""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

from koala_middleware.django.checks import check_settings
from koala_middleware.django.middleware import explain_missing_koala


class KoalaAppConfig(AppConfig):
    """Registers the system checks of `manage.py check`, and a hint for requests without the middleware."""

    name = "koala_middleware.django"
    label = "koala"
    verbose_name = "Koala"

    def ready(self) -> None:
        checks.register(check_settings)
        explain_missing_koala()
