"""KoalaConfig: every setting with its default, its check and its description.

Each setting has one name: `cookie_domain=` as a keyword, `KOALA_COOKIE_DOMAIN` in Flask's and Django's settings and in
the environment. The first of these that is given wins. Must not know any framework.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Literal, Protocol, Self, TypeVar

from koala_middleware.config import test_runs, validators
from koala_middleware.config.validators import (
    HIDDEN_VALUE,
    CookieDomain,
    InvalidValueError,
    Network,
    PropertiesByEvent,
)
from koala_middleware.errors import KoalaConfigError
from koala_middleware.log_once import LogOnce

PREFIX = "KOALA_"
HOSTED_ENDPOINT = "https://api.getkoala.com"
HOSTED_APP = "https://app.getkoala.com"

_SIMILAR = 0.7  # difflib's ratio, from 0 to 1: one or two typos
_log_once = LogOnce()

# What other SDKs call the same settings.
_OTHER_NAMES = {
    **dict.fromkeys(("api_key", "key", "public_key", "write_key", "project_key"), "public_api_key"),
    "secret_key": "secret_api_key",
    **dict.fromkeys(("host", "api_host", "url", "endpoint_url"), "endpoint"),
    "domain": "cookie_domain",
}

# By transport: the module it needs, the setting it requires, and what that takes.
_TRANSPORT_REQUIREMENTS = {
    "curl": ("pycurl", "endpoint", ""),
    "celery": ("celery", "celery_app", 'your Celery app or where it is, such as "proj.celery:app"'),
    "kafka": ("confluent_kafka", "broker", 'brokers to begin with, such as "host:9092,host:9092"'),
    "redis": ("redis", "broker", 'an address such as "redis://host:6379/0"'),
}

Given_contra = TypeVar("Given_contra", contravariant=True)
Stored_co = TypeVar("Stored_co", covariant=True)
Item = TypeVar("Item")
ListOrTuple = list[Item] | tuple[Item, ...]


class Converted(Protocol[Given_contra, Stored_co]):
    """The type of a setting whose check converts it. At run time it is a plain field; type checkers take the
    constructor's argument from `__set__` and the attribute from `__get__`."""

    def __get__(self, config: object, owner: object) -> Stored_co: ...
    def __set__(self, config: object, given: Given_contra) -> None: ...


def setting(
    default: Any,
    check: Callable[[object], Any],
    about: str,
    *,
    comma_separated: bool = False,
    secret: bool = False,
    in_environment: bool = True,
) -> Any:
    """A field of `KoalaConfig`.

    Args:
        check: Returns the value to use, or raises InvalidValueError.
        about: One line for the documentation.
        comma_separated: In the environment, a list separated by commas.
        secret: Never shown in errors or the repr.
        in_environment: Whether a text can give it.
    """
    metadata = {
        "check": check,
        "about": about,
        "comma_separated": comma_separated,
        "secret": secret,
        "in_environment": in_environment,
    }
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class KoalaConfig:
    """All settings, checked when the object is made.

    Raises:
        KoalaConfigError: a setting is missing or malformed.
    """

    # The endpoint. `enabled` comes first: without it no key is needed.
    enabled: bool = setting(
        True, validators.switch, "False: no cookie, nothing is recorded, every call does nothing."
    )
    public_api_key: str = setting(
        None, validators.api_key, "The workspace's public key; part of the endpoint's path."
    )
    endpoint: str = setting(
        HOSTED_ENDPOINT, validators.url, "Base URL of the collector that receives the batches."
    )
    user_agent: str = setting(
        "koala_middleware/0.1",
        validators.text,
        "User-Agent of the requests; the protocol drops requests without one.",
    )

    # The cookie
    cookie_domain: Converted[CookieDomain | list[str], CookieDomain] = setting(
        "auto",
        validators.cookie_domain,
        '"auto" (registrable domain), a domain, several domains, or None (host-only).',
    )
    cookie_secure: bool = setting(
        False,
        validators.switch,
        "Marks the cookie Secure. Only if every page of the whole domain uses https.",
    )
    cookie_refresh: bool = setting(
        False,
        validators.switch,
        "Sends the cookie again on every page load, for browsers that limit its lifetime.",
    )
    mint: Literal["auto", "always", "never"] = setting(
        "auto", validators.one_of("auto", "always", "never"), "When a visitor without a cookie gets one."
    )
    trust_forwarded_host: bool = setting(
        False,
        validators.switch,
        "Reads the host from X-Forwarded-Host. Only behind a proxy that always sets it.",
    )
    exclude_paths: Converted[ListOrTuple[str], tuple[str, ...]] = setting(
        (),
        validators.paths,
        'Paths that never set the cookie or count as page views, such as "/health" or "/static/*".',
        comma_separated=True,
    )

    # Consent
    consent: Callable[..., Any] | None = setting(
        None,
        validators.optional(validators.function),
        'A function that takes the request and returns "full", "anonymous" or "none".',
        in_environment=False,
    )
    honor_gpc: bool = setting(
        False, validators.switch, 'Treats the browser\'s "Sec-GPC: 1" as consent "none".'
    )
    clear_on_withdrawal: bool = setting(
        False, validators.switch, 'Deletes an existing ko_id cookie when consent is "none".'
    )

    # What is recorded
    page_views: bool = setting(
        False,
        validators.switch,
        "Records a page view for every HTML page that a visitor loads.",
    )
    page_query: bool = setting(
        False,
        validators.switch,
        "Keeps the query string in page URLs. It may hold personal data.",
    )
    forward_ip: bool = setting(
        False,
        validators.switch,
        "Sends the visitor's IP address, which the collector may match to a company.",
    )
    trusted_proxies: Converted[ListOrTuple[str] | ListOrTuple[Network], tuple[Network, ...]] = setting(
        (),
        validators.networks,
        "Addresses or networks of proxies whose X-Forwarded-For is trusted.",
        comma_separated=True,
    )
    identify_from_link: bool = setting(
        False,
        validators.switch,
        "Identifies visitors by the email in a link's ko_e or utm_id. Anybody can write such a link.",
    )
    before_send: Callable[..., Any] | None = setting(
        None,
        validators.optional(validators.function),
        "A function that takes each batch before it is sent and returns it, changed or not, or None to drop it.",
        in_environment=False,
    )
    scrub: bool = setting(
        True, validators.switch, "Masks passwords, tokens, card numbers and other secrets at any depth."
    )
    allow_properties: Converted[Mapping[str, ListOrTuple[str]] | None, PropertiesByEvent | None] = setting(
        None,
        validators.optional(validators.properties_by_event),
        "By event name, the only properties that are sent. Events not listed keep all of theirs.",
    )
    sample_rate: Mapping[str, float] | None = setting(
        None,
        validators.optional(validators.rates_by_event),
        "By event name, the share that is sent, from 0 to 1. Events not listed are always sent.",
    )

    strict_events: bool = setting(
        False,
        validators.switch,
        "For development: an event that differs from its @koala_event raises at the call. Otherwise it is logged.",
    )

    # Calls that wait for an answer, and jobs
    app_endpoint: str = setting(
        HOSTED_APP, validators.url, "Base URL of the server that takes deletion requests, for `erase`."
    )
    secret_api_key: str | None = setting(
        None,
        validators.optional(validators.secret_api_key),
        "The workspace's secret key, for `erase` only. Never shown.",
        secret=True,
    )
    signing_key: str | None = setting(
        None,
        validators.optional(validators.signing_key),
        "Signs the visitor's ticket in a job. The same in every process that enqueues or runs jobs. Never shown.",
        secret=True,
    )

    identify_user: Callable[..., Any] | bool = setting(
        False,
        validators.function_or_switch,
        "Identifies the signed-in user: True takes the user's email; a function takes the user and returns an email or "
        "(email, traits).",
    )
    on_error: Literal["send", "tag", "drop"] = setting(
        "send",
        validators.one_of("send", "tag", "drop"),
        'What happens to entries of a request that ends in a 5xx: "send", "tag" (sent with the status) or "drop".',
    )

    # Delivery
    delivery: Literal["thread", "inline", "relay", "off"] = setting(
        "thread",
        validators.one_of("thread", "inline", "relay", "off"),
        'Who sends the batches: a background "thread", the request itself at its end ("inline", for serverless), a '
        '"relay" process that shares the outbox, or nobody ("off").',
    )
    flush_interval: float = setting(
        1.0,
        validators.seconds(0),
        "Longest time that a person's entries are collected into one batch. A batch leaves once its visitor has been "
        "idle for 1/80 of this.",
    )
    concurrency: int = setting(
        4,
        validators.whole_number(1),
        "Connections to the endpoint at a time. A person's batches stay in order.",
    )
    request_timeout: float = setting(
        5.0,
        validators.seconds(0.1),
        "Longest that a request to the endpoint may take, from connecting to the end of the answer.",
    )
    shutdown_timeout: float = setting(
        2.0, validators.seconds(0), "Longest wait for delivery when the process ends."
    )
    transport: Literal["http", "curl", "celery", "kafka", "redis"] = setting(
        "http",
        validators.one_of("http", "curl", "celery", "kafka", "redis"),
        'How batches travel: to the endpoint by "http" or, faster, "curl"; or to a broker that your workers empty '
        "(docs/how-to/transports.md).",
    )
    celery_app: Any = setting(
        None,
        validators.optional(validators.celery_app),
        'For transport="celery": your Celery app, or its import path, "proj.celery:app".',
    )
    broker: str | None = setting(
        None,
        validators.optional(validators.broker),
        'The broker\'s address, such as "redis://host:6379/0" or, for Kafka, "host:9092,host:9092". Never shown.',
        secret=True,
    )
    broker_options: Mapping[str, Any] | None = setting(
        None,
        validators.optional(validators.options),
        'Options for the broker\'s client, such as {"security.protocol": "SASL_SSL"}. Never shown.',
        secret=True,
    )
    queue: str = setting(
        "koala", validators.queue_name, "Name of the queues, streams or topic at the broker."
    )
    shards: int = setting(
        4,
        validators.whole_number(1),
        "Number of queues (Celery) or streams (Redis) that people are spread over. Each stays in order.",
    )
    outbox: str | None = setting(
        None,
        validators.optional(validators.directory),
        "Directory of the durable outbox. None keeps waiting entries in memory.",
    )
    outbox_fsync: bool = setting(
        False, validators.switch, "Durable outbox: also survives a power failure, at a cost."
    )
    outbox_max_entries: int = setting(
        10_000, validators.whole_number(1), "Memory outbox: most entries that may wait."
    )
    outbox_max_bytes: int | None = setting(
        None,
        validators.optional(validators.whole_number(1024)),
        "Most bytes that may wait. None means 16 MiB in memory and 256 MiB on disk.",
    )
    outbox_max_age: float = setting(
        7 * 24 * 3600.0,
        validators.seconds(1),
        "Durable outbox: entries that have waited for longer are dropped and counted.",
    )
    overflow: Literal["drop-new", "drop-old"] = setting(
        "drop-new",
        validators.one_of("drop-new", "drop-old"),
        "Which entries are dropped when the outbox is full.",
    )
    on_delivery: Callable[..., Any] | None = setting(
        None,
        validators.optional(validators.function),
        "A function that is called with the outcome of each batch.",
        in_environment=False,
    )
    alarm_after: float = setting(
        300.0,
        validators.seconds(1),
        "Health turns bad when entries wait and nothing was delivered for this long.",
    )

    def __post_init__(self) -> None:
        for declared in fields(self):
            object.__setattr__(self, declared.name, self._checked(declared))
        if self.delivery == "relay" and self.outbox is None:
            raise KoalaConfigError("outbox", "missing", 'a directory, for delivery="relay"')
        if self.enabled and self.transport != "http":
            self._check_transport(self.transport)
        if not test_runs.may_deliver_to(self.endpoint):
            object.__setattr__(self, "delivery", "off")

    def _check_transport(self, transport: str) -> None:
        client, setting_, expected = _TRANSPORT_REQUIREMENTS[transport]
        if find_spec(client) is None:
            install = f"pip install 'koala-middleware[{transport}]'"
            raise KoalaConfigError("transport", repr(transport), f"a transport that is installed: {install}")
        given = getattr(self, setting_)
        if given is None:
            raise KoalaConfigError(setting_, "missing", f'{expected}, for transport="{transport}"')
        if transport == "redis" and not given.startswith(("redis://", "rediss://", "unix://")):
            raise KoalaConfigError(setting_, HIDDEN_VALUE, expected)

    def _checked(self, declared: Field[Any]) -> object:
        given = getattr(self, declared.name)
        if declared.name == "public_api_key" and not self.enabled and not given:
            return ""
        try:
            return declared.metadata["check"](given)
        except InvalidValueError as invalid:
            shown = HIDDEN_VALUE if declared.metadata["secret"] else invalid.describe(given)
            raise KoalaConfigError(
                declared.name, shown, str(invalid), in_environment=declared.metadata["in_environment"]
            ) from None

    @classmethod
    def load(
        cls,
        keywords: Mapping[str, object],
        framework: Mapping[str, object] = MappingProxyType({}),
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Read the settings: keywords first, then the framework's settings, then the environment.

        Args:
            keywords: `{"cookie_domain": "example.com"}`, as given to the middleware or the client.
            framework: `{"KOALA_COOKIE_DOMAIN": "example.com"}`; other keys are ignored.
            environment: The same as text; `os.environ` when None. Empty or blank variables count as not set.
        Raises:
            TypeError: a keyword is not a setting.
            KoalaConfigError: a value is missing or malformed.
        """
        for keyword in keywords:
            if keyword not in SETTINGS:
                raise TypeError(f"{keyword} is not a Koala setting. {did_you_mean(keyword)}")
        environment = os.environ if environment is None else environment
        found = dict(_from_environment(environment))
        for declared in fields(cls):
            if (name := PREFIX + declared.name.upper()) in framework:
                found[declared.name] = framework[name]
        enabled = True
        try:
            config = cls(**{**found, **keywords})  # type: ignore[arg-type]  # __post_init__ checks every value
            enabled = config.enabled
        finally:
            if enabled:  # also if a setting is missing: its name may be misspelled
                _warn_about_unknown([*framework, *environment])
        return config


SETTINGS = tuple(declared.name for declared in fields(KoalaConfig))


def did_you_mean(name: str) -> str:
    """What to do about an unknown setting, given as a keyword or with `KOALA_`."""
    if (similar := _similar_setting(name.removeprefix(PREFIX).lower())) is None:
        return "docs/reference/settings.md lists all settings."
    return f"Did you mean {PREFIX + similar.upper() if name.startswith(PREFIX) else similar}?"


def _similar_setting(name: str) -> str | None:
    from difflib import get_close_matches  # noqa: PLC0415  (only for a mistake)

    return _OTHER_NAMES.get(name) or next(iter(get_close_matches(name, SETTINGS, 1, _SIMILAR)), None)


def _warn_about_unknown(names: Iterable[str]) -> None:
    """Warns about `KOALA_` names that resemble a setting. It is no error: other programs may use them."""
    for name in names:
        if not name.startswith(PREFIX) or (own := name.removeprefix(PREFIX).lower()) in SETTINGS:
            continue
        if _similar_setting(own):
            _log_once.warning(f"{name} is not a Koala setting and has no effect. {did_you_mean(name)}")


def _from_environment(environment: Mapping[str, str]) -> Mapping[str, object]:
    """The settings that the environment gives."""
    found: dict[str, object] = {}
    for declared in fields(KoalaConfig):
        text = environment.get(PREFIX + declared.name.upper(), "").strip()
        if text:
            found[declared.name] = _split(text) if declared.metadata["comma_separated"] else text
    return found


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
