"""Checks of settings: each takes what was given and returns the value to use.

A check raises `InvalidValueError` with what it expected; settings.py adds the setting's name and the value. Numbers and
switches may be text, since environments and many settings files hold only text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from os import PathLike, fspath
from typing import Any, Literal
from urllib.parse import urlsplit

from koala_middleware.hosts import host_name, registrable_domain

Network = IPv4Network | IPv6Network
PropertiesByEvent = Mapping[str, tuple[str, ...]]
CookieDomain = Literal["auto"] | str | tuple[str, ...] | None

HIDDEN_VALUE = "hidden (it is a secret, or may hold one)"  # shown in an error instead of the value

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_KEY = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_SHORTEST_SIGNING_KEY = 16
_LONGEST_SHOWN = 80
_MAY_HOLD_SECRET = re.compile("[@?#]")  # in a URL: before or after them stand passwords and tokens
_NOT_IN_URLS = re.compile(r"[\s\x00-\x1f\x7f]")
_IMPORT_PATH = re.compile(r"[\w.]+:\w+")
_JSON_IN_ENVIRONMENT = "(in the environment: a JSON object)"
_QUEUE_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


class InvalidValueError(ValueError):
    """A setting has a wrong value.

    Args:
        expected: What the setting takes: `"a number of seconds, 0 or more"`.
        secret: Whether the value may hold a secret, so that it must not be shown.
    """

    def __init__(self, expected: str, *, secret: bool = False) -> None:
        self.secret = secret
        super().__init__(expected)

    def describe(self, value: object) -> str:
        """The value for an error message."""
        if self.secret:
            return HIDDEN_VALUE
        if value is None:
            return "missing"
        printable = isinstance(value, str | int | float | list | tuple | dict)
        text = repr(value) if printable else f"a {type(value).__name__}"
        return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise InvalidValueError("True or False (in the environment: 1 or 0)")


def api_key(value: object) -> str:
    key = value.strip() if isinstance(value, str) else ""
    if _KEY.fullmatch(key) and not key.startswith("sk_"):
        return key
    if "sk_" in str(value):
        raise InvalidValueError('the public key, which begins with "pk_": never a secret key', secret=True)
    raise InvalidValueError(
        'the key as your workspace shows it, such as "pk_1a2b3c" (letters, digits and . _ ~ -)'
    )


def secret_api_key(value: object) -> str:
    if isinstance(value, str) and _KEY.fullmatch(key := value.strip()) and not key.startswith("pk_"):
        return key
    raise InvalidValueError('the secret key as your workspace shows it, which begins with "sk_"')


def signing_key(value: object) -> str:
    if isinstance(value, str) and len(value.strip()) >= _SHORTEST_SIGNING_KEY:
        return value.strip()
    raise InvalidValueError(
        f"a secret text of {_SHORTEST_SIGNING_KEY} characters or more; one comes from: "
        'python -c "import secrets; print(secrets.token_urlsafe())"'
    )


def text(value: object) -> str:
    """One line that a header can hold."""
    if isinstance(value, str) and value.strip() and value.isascii() and value.isprintable():
        return value.strip()
    raise InvalidValueError("a line of plain ASCII text")


def url(value: object) -> str:
    """An http(s) base URL. Returned without its trailing slash."""
    expected = 'an http(s) URL without query, such as "https://collector.example.com"'
    invalid = InvalidValueError(expected, secret=_MAY_HOLD_SECRET.search(str(value)) is not None)
    if not isinstance(value, str) or _NOT_IN_URLS.search(value.strip()):
        raise invalid
    try:
        parts = urlsplit(value.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise invalid from None
    if parts.username is not None:
        raise InvalidValueError(expected.replace("query", "user and password"), secret=True)
    if not usable or parts.query or parts.fragment:
        raise invalid
    return value.strip().rstrip("/")


def seconds(least: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number) or number < least:
            raise InvalidValueError(f"a number of seconds, {least:g} or more")
        return number

    return check


def whole_number(least: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        try:
            number = int(value) if isinstance(value, int | str) else None
        except ValueError:
            number = None
        if isinstance(value, bool) or number is None or number < least:
            raise InvalidValueError(f"a whole number, {least} or more")
        return number

    return check


def one_of(*words: str) -> Callable[[object], Any]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise InvalidValueError("one of " + ", ".join(f'"{word}"' for word in words))

    return check


def optional(check: Callable[[object], Any]) -> Callable[[object], Any]:
    """The same check, or None for "not set". Empty or blank text counts as None."""

    def checked(value: object) -> Any:
        return None if value is None or (isinstance(value, str) and not value.strip()) else check(value)

    return checked


def function(value: object) -> Callable[..., Any]:
    if callable(value):
        return value
    raise InvalidValueError("a function")


def function_or_switch(value: object) -> Callable[..., Any] | bool:
    if callable(value):
        return value
    try:
        return switch(value)
    except InvalidValueError:
        raise InvalidValueError("a function of the user, or True or False") from None


def texts(value: object) -> tuple[str, ...]:
    # A str is itself a sequence of str: "GET" would become ("G", "E", "T").
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidValueError(
            'a list of texts, such as ["/health"] (in the environment: separated by commas)'
        )
    items = tuple(value)
    if not all(isinstance(item, str) and item for item in items):
        raise InvalidValueError("a list that holds only non-empty texts")
    return items


def paths(value: object) -> tuple[str, ...]:
    items = texts(value)
    if not all(item.startswith("/") for item in items):
        raise InvalidValueError('a list of paths that begin with "/", such as ["/health", "/static/*"]')
    if any("*" in item[:-1] for item in items):
        raise InvalidValueError(
            'a list of paths with "*" only at its end, such as ["/static/*"] for all below /static/'
        )
    return items


def networks(value: object) -> tuple[Network, ...]:
    expected = 'a list of addresses or networks, such as ["10.0.0.0/8"]'
    if isinstance(value, tuple | list) and all(isinstance(item, Network) for item in value):
        return tuple(value)  # of another configuration
    try:
        return tuple(ip_network(item) for item in texts(value))
    except ValueError:
        raise InvalidValueError(expected) from None


def directory(value: object) -> str:
    path = fspath(value) if isinstance(value, str | PathLike) else None
    if isinstance(path, str) and path.strip():
        return path.strip()
    raise InvalidValueError('a directory, such as "/var/lib/app/koala"')


def celery_app(value: object) -> object:
    """A Celery app, or its import path; nothing is imported here."""
    if isinstance(value, str) and _IMPORT_PATH.fullmatch(value.strip()):
        return value.strip()
    if not isinstance(value, str) and callable(getattr(value, "send_task", None)):
        return value
    raise InvalidValueError('a Celery app, or its module and name, such as "proj.celery:app"')


def broker(value: object) -> str:
    if isinstance(value, str) and value.strip() and not _NOT_IN_URLS.search(value.strip()):
        return value.strip()
    raise InvalidValueError('an address such as "redis://host:6379/0" or "host:9092,host:9092"', secret=True)


def options(value: object) -> Mapping[str, Any]:
    try:
        return dict(_mapping_by_name(value))
    except ValueError:
        raise InvalidValueError(f"a mapping of names to values {_JSON_IN_ENVIRONMENT}", secret=True) from None


def queue_name(value: object) -> str:
    if isinstance(value, str) and _QUEUE_NAME.fullmatch(value.strip()):
        return value.strip()
    raise InvalidValueError('a name of letters, digits and . _ -, such as "koala"')


def properties_by_event(value: object) -> PropertiesByEvent:
    try:
        return {name: texts(properties) for name, properties in _mapping_by_name(value).items()}
    except ValueError:
        expected = 'a mapping of event names to lists of property names, such as {"Paid": ["amount"]}'
        raise InvalidValueError(f"{expected} {_JSON_IN_ENVIRONMENT}") from None


def rates_by_event(value: object) -> Mapping[str, float]:
    try:
        return {name: _share(rate) for name, rate in _mapping_by_name(value).items()}
    except ValueError:
        expected = 'a mapping of event names to rates from 0 to 1, such as {"Scrolled": 0.1}'
        raise InvalidValueError(f"{expected} {_JSON_IN_ENVIRONMENT}") from None


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidValueError("a number from 0 to 1")
    return value


def _mapping_by_name(value: object) -> Mapping[str, Any]:
    """A mapping with str keys, or the same as JSON text. Raises ValueError for anything else."""
    given = json.loads(value) if isinstance(value, str) else value
    if isinstance(given, Mapping) and all(isinstance(name, str) for name in given):
        return given
    raise InvalidValueError("a mapping")


def cookie_domain(value: object) -> CookieDomain:
    """`"auto"`, None for host-only, one domain, or several (in text: separated by commas)."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return None
    if isinstance(value, str) and "," not in value:
        return "auto" if value.strip().lower() == "auto" else _domain(value)
    domains = value.split(",") if isinstance(value, str) else value
    if not isinstance(domains, list | tuple) or not domains:
        raise InvalidValueError(
            '"auto", a domain such as "example.com", a list of domains, or None for host-only'
        )
    return tuple(_domain(item) for item in domains)


def _domain(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValueError('"auto", or domains as text, such as "example.com"')
    domain = value.strip().lower().removeprefix(".")
    if "/" in domain:
        raise InvalidValueError('a domain such as "example.com", without scheme and path')
    if ":" in domain:
        raise InvalidValueError('a domain such as "example.com", without a port')
    if domain.endswith("."):
        raise InvalidValueError('a domain such as "example.com", without a dot at its end')
    if not domain.isascii():
        raise InvalidValueError('a domain as browsers send it, in ASCII, such as "xn--strae-oqa.de"')
    if host_name(domain) is None:
        raise InvalidValueError(
            'a domain of at least two labels, such as "example.com", or None for host-only'
        )
    if registrable_domain(domain) is None:
        raise InvalidValueError(
            f"a domain below {domain}, which is a public suffix: browsers refuse its cookies. "
            f'Write your site\'s own domain, such as "mysite.{domain}", or "auto"'
        )
    return domain
