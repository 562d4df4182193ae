"""KoalaConfig: every setting, its default, its check and its one line of explanation.

One set of names everywhere: the keyword `cookie_domain=`, Flask's and Django's `KOALA_COOKIE_DOMAIN`, and the
environment's `KOALA_COOKIE_DOMAIN`; the first of them that is given wins. Must not know any framework.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Literal, Protocol, Self, TypeVar

from koala_middleware.config import validators
from koala_middleware.config.validators import HIDDEN, CookieDomain, Network, PropertiesByEvent, Refused
from koala_middleware.errors import KoalaConfigError
from koala_middleware.log_once import LogOnce

PREFIX = "KOALA_"
HOSTED_ENDPOINT = "https://api.getkoala.com"
HOSTED_APP = "https://app.getkoala.com"

_ALIKE = 0.7  # of difflib's 0 to 1: a slip of the finger or two
_notices = LogOnce()

# By transport: the module it stands on, the setting it cannot do without, and what that takes.
_ENGINES = {
    "curl": ("pycurl", "endpoint", ""),
    "celery": ("celery", "celery_app", 'your Celery app or where it is, such as "proj.celery:app"'),
    "kafka": ("confluent_kafka", "broker", 'brokers to begin with, such as "host:9092,host:9092"'),
    "redis": ("redis", "broker", 'an address such as "redis://host:6379/0"'),
}

Given_contra = TypeVar("Given_contra", contravariant=True)
Kept_co = TypeVar("Kept_co", covariant=True)
Item = TypeVar("Item")
Several = list[Item] | tuple[Item, ...]


class Checked(Protocol[Given_contra, Kept_co]):
    """The annotation of a setting that takes more than it keeps. At runtime it is a field like the others; type
    checkers read what the constructor takes from `__set__`, and what a reader gets from `__get__`."""

    def __get__(self, config: object, owner: object) -> Kept_co: ...
    def __set__(self, config: object, given: Given_contra) -> None: ...


def setting(
    default: Any,
    check: Callable[[object], Any],
    about: str,
    *,
    several: bool = False,
    secret: bool = False,
    in_environment: bool = True,
) -> Any:
    """One setting.

    Args:
        several: The environment's text is split at commas.
        secret: Never shown, nowhere.
        in_environment: A text can say what it takes.
    """
    metadata = {
        "check": check,
        "about": about,
        "several": several,
        "secret": secret,
        "in_environment": in_environment,
    }
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class KoalaConfig:
    """All that can be set. Checked as a whole when it is made.

    Raises:
        KoalaConfigError: a setting is missing or malformed; names it, the value and what is expected.
    """

    # Whether, and where to. `enabled` is checked first: only where Koala is on does it need a key.
    enabled: bool = setting(
        True, validators.switch, "Off: no cookie, nothing recorded, every call a silent no-op."
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
        "User-Agent of our requests; without one the protocol drops them.",
    )

    # The cookie
    cookie_domain: Checked[CookieDomain | list[str], CookieDomain] = setting(
        "auto",
        validators.cookie_domain,
        '"auto" (registrable domain), a domain, several domains, or None (host-only).',
    )
    cookie_secure: bool = setting(
        False, validators.switch, "Marks the cookie Secure: only if every page of the whole domain is https."
    )
    cookie_refresh: bool = setting(
        False,
        validators.switch,
        "Sends the visitor's cookie again on page loads, so that it lasts in every browser.",
    )
    mint: Literal["auto", "always", "never"] = setting(
        "auto", validators.one_of("auto", "always", "never"), "When a visitor without a cookie gets one."
    )
    trust_forwarded_host: bool = setting(
        False,
        validators.switch,
        "Takes the host from X-Forwarded-Host: only behind a proxy that always sets it.",
    )
    exclude_paths: Checked[Several[str], tuple[str, ...]] = setting(
        (),
        validators.paths,
        'Paths left alone, such as "/health"; "/static/*" means all below.',
        several=True,
    )

    # Consent
    consent: Callable[..., Any] | None = setting(
        None,
        validators.maybe(validators.function),
        'A function of the request: "full", "anonymous" or "none".',
        in_environment=False,
    )
    honor_gpc: bool = setting(
        False, validators.switch, 'Treats the browser\'s "Sec-GPC: 1" as consent "none".'
    )
    clear_on_withdrawal: bool = setting(
        False, validators.switch, 'Deletes an existing ko_id when consent is "none".'
    )

    # What is said
    page_views: bool = setting(
        False,
        validators.switch,
        "Records one page view for each HTML page a visitor loads, without a line of code.",
    )
    page_query: bool = setting(
        False,
        validators.switch,
        "Keeps the query string in page URLs; it can hold what is nobody's business.",
    )
    forward_ip: bool = setting(
        False, validators.switch, "Sends the visitor's address, which the collector may match to a company."
    )
    trusted_proxies: Checked[Several[str] | Several[Network], tuple[Network, ...]] = setting(
        (),
        validators.networks,
        "Proxies whose X-Forwarded-For is believed, as addresses or networks.",
        several=True,
    )
    identify_from_link: bool = setting(
        False,
        validators.switch,
        "Takes an email from ko_e and utm_id in links; anybody can write such a link.",
    )
    before_send: Callable[..., Any] | None = setting(
        None,
        validators.maybe(validators.function),
        "Sees each batch before it leaves: returns it, changed or not, or None.",
        in_environment=False,
    )
    scrub: bool = setting(
        True, validators.switch, "Masks passwords, tokens, card numbers and the like, at any depth."
    )
    allow_properties: Checked[Mapping[str, Several[str]] | None, PropertiesByEvent | None] = setting(
        None,
        validators.maybe(validators.properties_by_event),
        "The only properties an event may have, by its name; other events keep all.",
    )
    sample_rate: Mapping[str, float] | None = setting(
        None,
        validators.maybe(validators.rates_by_event),
        "The share of an event that is sent, from 0 to 1, by its name; other events go whole.",
    )

    strict_events: bool = setting(
        False,
        validators.switch,
        "For development: an event unlike its @koala_event raises at the call; else it is counted.",
    )

    # Answered calls and jobs
    app_endpoint: str = setting(
        HOSTED_APP, validators.url, "Base URL of the app that takes deletion requests; `erase` calls it."
    )
    secret_api_key: str | None = setting(
        None,
        validators.maybe(validators.secret_api_key),
        "The workspace's secret key, which only `erase` needs; never shown.",
        secret=True,
    )
    signing_key: str | None = setting(
        None,
        validators.maybe(validators.signing_key),
        "Signs who caused a job; the same in every process that enqueues or works; never shown.",
        secret=True,
    )

    identify_user: Callable[..., Any] | bool = setting(
        False,
        validators.function_or_switch,
        "Identifies who is signed in, once a process: True takes the user's email, a function gives email or "
        "(email, traits).",
    )
    on_error: Literal["send", "tag", "drop"] = setting(
        "send",
        validators.one_of("send", "tag", "drop"),
        'What was said in an exchange that ends in a 5xx: sent, sent with its status ("tag"), or dropped.',
    )

    # Delivery
    delivery: Literal["thread", "inline", "relay", "off"] = setting(
        "thread",
        validators.one_of("thread", "inline", "relay", "off"),
        'How batches leave: by a background thread, "inline" at the end of the exchange (serverless), by a '
        '"relay" process that shares the outbox, or not at all ("off").',
    )
    flush_interval: float = setting(
        1.0,
        validators.seconds(0),
        "Longest that one person's entries are gathered into one request; who is quiet for an eightieth of it is "
        "waited for no longer.",
    )
    concurrency: int = setting(
        4, validators.whole_number(1), "Connections at a time; one person's batches stay in order."
    )
    request_timeout: float = setting(
        5.0, validators.seconds(0.1), "Longest wait for the endpoint to connect or answer."
    )
    shutdown_timeout: float = setting(
        2.0, validators.seconds(0), "Longest that the end of the process waits for delivery."
    )
    transport: Literal["http", "curl", "celery", "kafka", "redis"] = setting(
        "http",
        validators.one_of("http", "curl", "celery", "kafka", "redis"),
        'Where batches go: by "http" or, faster, by "curl" to the endpoint, or to a broker that workers of yours empty '
        "(docs/how-to/transports.md).",
    )
    celery_app: Any = setting(
        None,
        validators.maybe(validators.celery_app),
        'For transport="celery": your Celery app, or where it is: "proj.celery:app".',
    )
    broker: str | None = setting(
        None,
        validators.maybe(validators.broker),
        'For transport="redis" ("redis://host:6379/0") and "kafka" ("host:9092,host:9092"); never shown.',
        secret=True,
    )
    broker_options: Mapping[str, Any] | None = setting(
        None,
        validators.maybe(validators.options),
        'Options of the broker\'s client, such as {"security.protocol": "SASL_SSL"}; never shown.',
        secret=True,
    )
    queue: str = setting(
        "koala", validators.queue_name, "What the broker calls the queues, streams or topic of our batches."
    )
    shards: int = setting(
        4,
        validators.whole_number(1),
        "Queues (Celery) or streams (Redis) that people are spread over; each is emptied in order.",
    )
    outbox: str | None = setting(
        None,
        validators.maybe(validators.directory),
        "Directory of the durable outbox; None keeps what waits in memory.",
    )
    outbox_fsync: bool = setting(
        False, validators.switch, "Durable outbox: safe from power loss too, at a cost."
    )
    outbox_max_entries: int = setting(
        10_000, validators.whole_number(1), "Memory outbox: most entries that may wait."
    )
    outbox_max_bytes: int | None = setting(
        None,
        validators.maybe(validators.whole_number(1024)),
        "Most bytes that may wait: 16 MiB in memory and 256 MiB on disk unless set.",
    )
    outbox_max_age: float = setting(
        7 * 24 * 3600.0,
        validators.seconds(1),
        "Durable outbox: entries older than this are dropped and counted.",
    )
    overflow: Literal["drop-new", "drop-old"] = setting(
        "drop-new", validators.one_of("drop-new", "drop-old"), "What goes when the outbox is full."
    )
    on_delivery: Callable[..., Any] | None = setting(
        None,
        validators.maybe(validators.function),
        "Called with the outcome of each batch.",
        in_environment=False,
    )
    alarm_after: float = setting(
        300.0, validators.seconds(1), "Entries wait and nothing was delivered for so long: health turns bad."
    )

    def __post_init__(self) -> None:
        for declared in fields(self):
            object.__setattr__(self, declared.name, self._checked(declared))
        if self.delivery == "relay" and self.outbox is None:
            raise KoalaConfigError(
                "outbox", "missing", 'a directory, since delivery="relay" hands over there'
            )
        if self.enabled and self.transport != "http":
            self._check_engine(self.transport)

    def _check_engine(self, transport: str) -> None:
        client, setting_, expected = _ENGINES[transport]
        if find_spec(client) is None:
            install = f"pip install 'koala-middleware[{transport}]'"
            raise KoalaConfigError("transport", repr(transport), f"a transport that is installed: {install}")
        given = getattr(self, setting_)
        if given is None:
            raise KoalaConfigError(setting_, "missing", f'{expected}, for transport="{transport}"')
        if transport == "redis" and not given.startswith(("redis://", "rediss://", "unix://")):
            raise KoalaConfigError(setting_, HIDDEN, expected)

    def _checked(self, declared: Field[Any]) -> object:
        given = getattr(self, declared.name)
        if declared.name == "public_api_key" and not self.enabled and not given:
            return ""
        try:
            return declared.metadata["check"](given)
        except Refused as refused:
            shown = HIDDEN if declared.metadata["secret"] else refused.shown(given)
            raise KoalaConfigError(
                declared.name, shown, str(refused), in_environment=declared.metadata["in_environment"]
            ) from None

    @classmethod
    def load(
        cls,
        keywords: Mapping[str, object],
        framework: Mapping[str, object] = MappingProxyType({}),
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """The configuration: keywords win over the framework's settings, those over the environment.

        Args:
            keywords: `{"cookie_domain": "example.com"}`, as given to the middleware.
            framework: `{"KOALA_COOKIE_DOMAIN": "example.com"}`; other keys are ignored.
            environment: the same in text, where what is empty or blank is not given; `os.environ` when None.
        Raises:
            TypeError: a keyword is no setting.
            KoalaConfigError: a value is missing or malformed.
        """
        for keyword in keywords:
            if keyword not in SETTINGS:
                raise TypeError(f"{keyword} is no setting of Koala. {meant(keyword, SETTINGS)}")
        environment = os.environ if environment is None else environment
        found = dict(_from_environment(environment))
        for declared in fields(cls):
            if (name := PREFIX + declared.name.upper()) in framework:
                found[declared.name] = framework[name]
        config = cls(**{**found, **keywords})  # type: ignore[arg-type]  # __post_init__ checks every value
        if config.enabled:
            _mention_misspelt([*framework, *environment])
        return config


SETTINGS = tuple(declared.name for declared in fields(KoalaConfig))


def meant(name: str, known: Sequence[str]) -> str:
    """What to do about a name that is no setting."""
    near = _nearest(name, known)
    return f"Did you mean {near}?" if near else "docs/reference/settings.md lists all settings."


def _nearest(name: str, known: Sequence[str]) -> str | None:
    from difflib import get_close_matches  # noqa: PLC0415  (only a mistake needs it)

    return next(iter(get_close_matches(name, known, 1, _ALIKE)), None)


def _mention_misspelt(names: Iterable[str]) -> None:
    """A keyword that is no setting is an error. Elsewhere it may be another program's, unless it is much like ours."""
    for name in names:
        if not name.startswith(PREFIX) or (own := name.removeprefix(PREFIX).lower()) in SETTINGS:
            continue
        if near := _nearest(own, SETTINGS):
            _notices.warning(
                f"{name} is no setting of Koala, and has no effect. Did you mean {PREFIX}{near.upper()}?"
            )


def _from_environment(environment: Mapping[str, str]) -> Mapping[str, object]:
    """What is given there; a variable that is empty or blank gives nothing."""
    found: dict[str, object] = {}
    for declared in fields(KoalaConfig):
        text = environment.get(PREFIX + declared.name.upper(), "").strip()
        if text:
            found[declared.name] = _split(text) if declared.metadata["several"] else text
    return found


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
