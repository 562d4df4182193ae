"""What a setting may be: each check takes what was given and returns the value to use.

A check that refuses raises `Refused` with what it expected; config.py adds the setting's name and the value.
Text is taken for numbers and switches everywhere, since environments and many settings files hold only text.
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

HIDDEN = "hidden (it is a secret, or may hold one)"  # in an error, in the value's place

_ON = frozenset({"1", "true", "yes", "on"})
_OFF = frozenset({"0", "false", "no", "off"})
_KEY = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_SHORTEST_SIGNING_KEY = 16
_LONGEST_SHOWN = 80
_MAY_HOLD_SECRET = re.compile("[@?#]")  # in a URL: before or after them stand passwords and tokens
_UNFIT_FOR_URLS = re.compile(r"[\s\x00-\x1f\x7f]")
_NAMED_OBJECT = re.compile(r"[\w.]+:\w+")
_AS_TEXT = "(in the environment a JSON object)"
_QUEUE_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


class Refused(ValueError):  # noqa: N818  (read as a sentence: `raise Refused("a number")`)
    """The value is not what the setting takes; `expected` says what it does take.

    Attributes:
        secret: The value holds a secret: it is not to be shown.
    """

    def __init__(self, expected: str, *, secret: bool = False) -> None:
        self.secret = secret
        super().__init__(expected)

    def shown(self, value: object) -> str:
        """The value as an error may show it."""
        if self.secret:
            return HIDDEN
        if value is None:
            return "missing"
        telling = isinstance(value, str | int | float | list | tuple | dict)
        text = repr(value) if telling else f"a {type(value).__name__}"
        return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _ON | _OFF:
        return value.strip().lower() in _ON
    raise Refused("True or False (in the environment 1 or 0)")


def api_key(value: object) -> str:
    key = value.strip() if isinstance(value, str) else ""
    if _KEY.fullmatch(key) and not key.startswith("sk_"):
        return key
    if "sk_" in str(value):
        raise Refused('the public key, which begins with "pk_": a secret key has no place here', secret=True)
    raise Refused('the key as your workspace shows it, such as "pk_1a2b3c" (letters, digits and . _ ~ -)')


def secret_api_key(value: object) -> str:
    if isinstance(value, str) and _KEY.fullmatch(key := value.strip()) and not key.startswith("pk_"):
        return key
    raise Refused('the secret key as your workspace shows it, which begins with "sk_"')


def signing_key(value: object) -> str:
    if isinstance(value, str) and len(value.strip()) >= _SHORTEST_SIGNING_KEY:
        return value.strip()
    raise Refused(
        f"a secret text of {_SHORTEST_SIGNING_KEY} characters or more; one comes from: "
        'python -c "import secrets; print(secrets.token_urlsafe())"'
    )


def text(value: object) -> str:
    """A line that can be a header's value."""
    if isinstance(value, str) and value.strip() and value.isascii() and value.isprintable():
        return value.strip()
    raise Refused("a line of plain ASCII text")


def url(value: object) -> str:
    """An http(s) base URL; comes back without its trailing slash."""
    expected = 'an http(s) URL without query, such as "https://collector.example.com"'
    refused = Refused(expected, secret=_MAY_HOLD_SECRET.search(str(value)) is not None)
    if not isinstance(value, str) or _UNFIT_FOR_URLS.search(value.strip()):
        raise refused
    try:
        parts = urlsplit(value.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise refused from None
    if parts.username is not None:
        raise Refused(expected.replace("query", "user and password"), secret=True)
    if not usable or parts.query or parts.fragment:
        raise refused
    return value.strip().rstrip("/")


def seconds(least: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number) or number < least:
            raise Refused(f"a number of seconds, {least:g} or more")
        return number

    return check


def whole_number(least: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        try:
            number = int(value) if isinstance(value, int | str) else None
        except ValueError:
            number = None
        if isinstance(value, bool) or number is None or number < least:
            raise Refused(f"a whole number, {least} or more")
        return number

    return check


def one_of(*words: str) -> Callable[[object], Any]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise Refused("one of " + ", ".join(f'"{word}"' for word in words))

    return check


def maybe(check: Callable[[object], Any]) -> Callable[[object], Any]:
    """The same check, and None for "not set"; a text that is empty or blank counts as None."""

    def checked(value: object) -> Any:
        return None if value is None or (isinstance(value, str) and not value.strip()) else check(value)

    return checked


def function(value: object) -> Callable[..., Any]:
    if callable(value):
        return value
    raise Refused("a function")


def function_or_switch(value: object) -> Callable[..., Any] | bool:
    if callable(value):
        return value
    try:
        return switch(value)
    except Refused:
        raise Refused("a function of the user, or True or False") from None


def texts(value: object) -> tuple[str, ...]:
    # A text is itself a sequence of texts: "GET" would silently become ("G", "E", "T").
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise Refused('a list of texts, such as ["/health"] (in the environment separated by commas)')
    items = tuple(value)
    if not all(isinstance(item, str) and item for item in items):
        raise Refused("a list that holds only non-empty texts")
    return items


def paths(value: object) -> tuple[str, ...]:
    items = texts(value)
    if not all(item.startswith("/") for item in items):
        raise Refused('a list of paths that begin with "/", such as ["/health", "/static/*"]')
    if any("*" in item[:-1] for item in items):
        raise Refused(
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
        raise Refused(expected) from None


def directory(value: object) -> str:
    path = fspath(value) if isinstance(value, str | PathLike) else None
    if isinstance(path, str) and path.strip():
        return path.strip()
    raise Refused('a directory, such as "/var/lib/app/koala"')


def celery_app(value: object) -> object:
    """An app, or the text that names one; nothing is imported for it here."""
    if isinstance(value, str) and _NAMED_OBJECT.fullmatch(value.strip()):
        return value.strip()
    if not isinstance(value, str) and callable(getattr(value, "send_task", None)):
        return value
    raise Refused('a Celery app, or its module and name, such as "proj.celery:app"')


def broker(value: object) -> str:
    if isinstance(value, str) and value.strip() and not _UNFIT_FOR_URLS.search(value.strip()):
        return value.strip()
    raise Refused('an address such as "redis://host:6379/0" or "host:9092,host:9092"', secret=True)


def options(value: object) -> Mapping[str, Any]:
    try:
        return dict(_by_name(value))
    except ValueError:
        raise Refused(f"a mapping of names to values {_AS_TEXT}", secret=True) from None


def queue_name(value: object) -> str:
    if isinstance(value, str) and _QUEUE_NAME.fullmatch(value.strip()):
        return value.strip()
    raise Refused('a name of letters, digits and . _ -, such as "koala"')


def properties_by_event(value: object) -> PropertiesByEvent:
    try:
        return {name: texts(properties) for name, properties in _by_name(value).items()}
    except ValueError:
        expected = 'a mapping of event names to lists of property names, such as {"Paid": ["amount"]}'
        raise Refused(f"{expected} {_AS_TEXT}") from None


def rates_by_event(value: object) -> Mapping[str, float]:
    try:
        return {name: _share(rate) for name, rate in _by_name(value).items()}
    except ValueError:
        expected = 'a mapping of event names to rates from 0 to 1, such as {"Scrolled": 0.1}'
        raise Refused(f"{expected} {_AS_TEXT}") from None


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Refused("a number from 0 to 1")
    return value


def _by_name(value: object) -> Mapping[str, Any]:
    """A mapping of texts, or the same as a JSON object in a text. Raises ValueError where it is neither."""
    given = json.loads(value) if isinstance(value, str) else value
    if isinstance(given, Mapping) and all(isinstance(name, str) for name in given):
        return given
    raise Refused("a mapping")


def cookie_domain(value: object) -> CookieDomain:
    """`"auto"`, None for host-only, one domain, or several (in a text separated by commas)."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return None
    if isinstance(value, str) and "," not in value:
        return "auto" if value.strip().lower() == "auto" else _one_domain(value)
    several = value.split(",") if isinstance(value, str) else value
    if not isinstance(several, list | tuple) or not several:
        raise Refused('"auto", a domain such as "example.com", a list of domains, or None for host-only')
    return tuple(_one_domain(item) for item in several)


def _one_domain(value: object) -> str:
    if not isinstance(value, str):
        raise Refused('"auto", or domains as text, such as "example.com"')
    domain = value.strip().lower().removeprefix(".")
    if "/" in domain:
        raise Refused('a domain such as "example.com", without scheme and path')
    if ":" in domain:
        raise Refused('a domain such as "example.com", without a port')
    if domain.endswith("."):
        raise Refused('a domain such as "example.com", without a dot at its end')
    if not domain.isascii():
        raise Refused('a domain as browsers send it, in ASCII: "xn--…", as your address bar\'s copy shows it')
    if host_name(domain) is None:
        raise Refused('a domain of at least two labels, such as "example.com", or None for host-only')
    if registrable_domain(domain) is None:
        raise Refused(
            f"a domain below {domain}, which is a public suffix: browsers refuse its cookies. "
            f'Write your site\'s own domain, such as "mysite.{domain}", or "auto"'
        )
    return domain
