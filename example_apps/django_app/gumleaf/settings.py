"""Settings of the demo, with one SQLite file. Koala's are at the end."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ.get("SECRET_KEY", "only for the demo")
DEBUG = True
# DEBUG alone allows only localhost and names below .localhost; this also allows an address.
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "gumleaf",
]
MIDDLEWARE = [
    "koala_middleware.django.KoalaMiddleware",  # first, so that it sees the final response
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "gumleaf.views.koala_script",
            ],
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("GUMLEAF_DATABASE", BASE_DIR / "gumleaf.sqlite3"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

ROOT_URLCONF = "gumleaf.urls"
STATIC_URL = "static/"
AUTH_USER_MODEL = "gumleaf.Member"
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]
SESSION_COOKIE_NAME = "gumleaf_django"  # browsers share cookies between the ports of 127.0.0.1
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "account"
USE_TZ = True

KOALA_PUBLIC_API_KEY = os.environ.get("KOALA_PUBLIC_API_KEY", "pk_demo")
KOALA_ENDPOINT = os.environ.get("KOALA_ENDPOINT", "http://localhost:8600")
KOALA_EXCLUDE_PATHS = ["/static/*"]  # a style sheet is not a visit
