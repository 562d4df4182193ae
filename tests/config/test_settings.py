"""Settings: where they come from, which of them wins, and what each takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from flask import Flask

from koala_middleware import KoalaClient, KoalaConfig, KoalaConfigError, asgi, flask, wsgi
from koala_middleware.config.settings import PREFIX


def loaded(
    keywords: Mapping[str, object] | None = None,
    framework: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> KoalaConfig:
    return KoalaConfig.load(
        {"public_api_key": "pk_test", **(keywords or {})}, framework or {}, environment or {}
    )


def test_keywords_win_over_the_frameworks_settings_over_the_environment_over_the_default() -> None:
    keyword = {"mint": "never"}
    framework = {"KOALA_MINT": "always"}
    environment = {"KOALA_MINT": "auto"}

    assert loaded(keyword, framework, environment).mint == "never"
    assert loaded({}, framework, environment).mint == "always"
    assert loaded({}, {}, {"KOALA_MINT": "never"}).mint == "never"
    assert loaded().mint == "auto"


@pytest.mark.parametrize(
    "given",
    [
        {"trusted_proxies": ["10.0.0.0/8", "2001:db8::/32"]},
        {"cookie_domain": ["example.com", "example.org"]},
        {"exclude_paths": ["/health", "/static/*"]},
        {"allow_properties": {"Paid": ["amount"]}},
        {"sample_rate": {"Scrolled": 0.5}},
        {"outbox": "/var/lib/app/koala"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_a_configuration_can_be_made_from_another_one(given: dict[str, object]) -> None:
    """As the test kit does for every app under pytest: the checks take what they have returned."""
    config = loaded(given)
    assert replace(config) == config


def test_a_setting_has_the_same_name_in_all_three_places() -> None:
    """Settings given as text arrive with the same values."""
    texts = {
        "public_api_key": "pk_other",
        "endpoint": "https://collector.example.com",
        "cookie_secure": "1",
        "exclude_paths": "/health, /static/*",
        "concurrency": "2",
        "flush_interval": "0.5",
    }
    environment = {PREFIX + name.upper(): text for name, text in texts.items()}

    config = KoalaConfig.load({}, {}, environment)

    assert config.public_api_key == "pk_other"
    assert config.endpoint == "https://collector.example.com"
    assert config.cookie_secure is True
    assert config.exclude_paths == ("/health", "/static/*")
    assert config.concurrency == 2
    assert config.flush_interval == 0.5
    assert config == KoalaConfig.load(
        {}, {**environment, "KOALA_EXCLUDE_PATHS": ["/health", "/static/*"]}, {}
    )


@pytest.mark.parametrize("empty", ["", " ", "\n"])
def test_an_empty_environment_variable_counts_as_not_set(empty: str) -> None:
    """A compose file's `KOALA_SCRUB: ${KOALA_SCRUB}` makes one."""
    environment = {PREFIX + declared.name.upper(): empty for declared in fields(KoalaConfig)}

    assert loaded({}, {}, environment) == loaded()
    assert loaded({}, {"KOALA_MINT": "never"}, environment).mint == "never"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("sample_rate", '{"Scrolled": 0.1}', {"Scrolled": 0.1}),
        ("allow_properties", '{"Paid": ["amount"]}', {"Paid": ("amount",)}),
        ("broker_options", '{"socket_keepalive": true}', {"socket_keepalive": True}),
    ],
)
def test_a_mapping_in_the_environment_is_written_as_json(name: str, text: str, value: object) -> None:
    assert getattr(loaded({}, {}, {PREFIX + name.upper(): text}), name) == value

    with pytest.raises(KoalaConfigError, match=r"\(in the environment: a JSON object\)"):
        loaded({}, {}, {PREFIX + name.upper(): text[:-1]})


@pytest.mark.parametrize("name", ["consent", "before_send", "on_delivery"])
def test_the_error_for_a_function_does_not_suggest_the_environment(name: str) -> None:
    with pytest.raises(KoalaConfigError, match=f"^{name} is 'full', expected a function") as raised:
        loaded({}, {}, {PREFIX + name.upper(): "full"})

    assert raised.value.what_to_do == (
        f"Give it as {name}=… or as KOALA_{name.upper()} in the framework's settings."
    )


def test_other_settings_of_the_framework_are_ignored() -> None:
    assert loaded(framework={"DEBUG": True, "SECRET_KEY": "…", "KOALAS": 3}) == loaded()


def test_none_as_a_keyword_wins_over_the_environment() -> None:
    assert loaded({"cookie_domain": None}, {}, {"KOALA_COOKIE_DOMAIN": "example.com"}).cookie_domain is None


def test_an_unknown_keyword_raises_a_type_error_that_suggests_the_right_one() -> None:
    with pytest.raises(
        TypeError, match=r"^cookie_domian is not a Koala setting. Did you mean cookie_domain\?$"
    ):
        loaded({"cookie_domian": "example.com"})
    with pytest.raises(
        TypeError, match=r"^colour is not a Koala setting. docs/reference/settings.md lists all settings.$"
    ):
        loaded({"colour": "blue"})


@pytest.mark.parametrize(
    ("name", "setting"),
    [("api_key", "public_api_key"), ("host", "endpoint"), ("write_key", "public_api_key")],
)
def test_names_that_other_sdks_use_lead_to_ours(
    name: str, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TypeError, match=rf"^{name} is not a Koala setting. Did you mean {setting}\?$"):
        loaded({name: "x"})
    variable = PREFIX + name.upper()
    with pytest.raises(KoalaConfigError, match=r"^public_api_key is missing"):
        KoalaConfig.load({}, {}, {variable: "pk_1"})
    assert f"Did you mean {PREFIX}{setting.upper()}?" in caplog.text


@pytest.mark.parametrize("made", [asgi.KoalaMiddleware, wsgi.KoalaMiddleware, flask.Koala])
def test_settings_beside_a_client_raise_a_type_error(made: Callable[..., Any]) -> None:
    client = KoalaClient(public_api_key="pk_test", delivery="off")
    app = Flask(__name__)
    assert made(app, client=client) is not None
    with pytest.raises(TypeError, match=r"^consent and mint beside client=… would have no effect: write it "):
        made(app, client=client, consent=print, mint="never")
    with pytest.raises(
        TypeError, match=r"^client takes a KoalaClient, not str. Settings are given by name, "
    ):
        made(app, "pk_test")


def test_flask_apps_can_share_a_client() -> None:
    client = KoalaClient(public_api_key="pk_test", delivery="off")
    koala = flask.Koala(client=client)
    for app in (Flask("shop"), Flask("blog")):
        koala.init_app(app)
        assert app.extensions["koala"] is client


def test_settings_beside_a_configuration_raise_a_type_error() -> None:
    config = KoalaConfig(public_api_key="pk_test", delivery="off")
    with pytest.raises(
        TypeError, match=r"^consent beside config=… would have no effect: write it where that "
    ):
        KoalaClient(config, consent=print)
    with pytest.raises(
        TypeError, match=r"^config takes a KoalaConfig, not str. Settings are given by name, "
    ):
        KoalaClient("pk_test")  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    ("place", "misspelled"), [("framework", "KOALA_FLUSH_INTERVALL"), ("environment", "KOALA_FLUSHINTERVAL")]
)
def test_a_misspelled_name_in_the_framework_or_the_environment_is_logged_once(
    place: str, misspelled: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It may belong to another program, so it is no error."""
    for _ in range(2):
        assert loaded(**{place: {misspelled: "3 of a kind", "KOALA_TEA": "5"}}).flush_interval == 1.0
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        f"{misspelled} is not a Koala setting and has no effect. Did you mean KOALA_FLUSH_INTERVAL?"
    )


def test_a_misspelled_name_is_not_logged_while_koala_is_off(caplog: pytest.LogCaptureFixture) -> None:
    loaded({"enabled": False}, {}, {"KOALA_FLUSH_INTERVALS": "3"})
    assert not caplog.records


def test_every_setting_is_described_in_one_line() -> None:
    for declared in fields(KoalaConfig):
        about = declared.metadata["about"]
        assert about.endswith("."), declared.name
        assert "\n" not in about, declared.name


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        loaded().mint = "always"  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize("off", ["0", "false", "no", "off", "False", False])
def test_switched_off_no_key_is_needed(off: object) -> None:
    config = KoalaConfig.load({}, {"KOALA_ENABLED": off}, {})

    assert config.enabled is False
    assert config.public_api_key == ""


def test_the_environment_can_switch_koala_off() -> None:
    assert KoalaConfig.load({}, {}, {"KOALA_ENABLED": "0"}).enabled is False


REFUSED = [
    ("public_api_key", None, "missing", "the key as your workspace shows it"),
    ("public_api_key", "", "''", "the key as your workspace shows it"),
    ("public_api_key", "pk 1", "'pk 1'", "the key as your workspace shows it"),
    ("public_api_key", 5, "5", "the key as your workspace shows it"),
    ("endpoint", "collector.example.com", "'collector.example.com'", "http(s) URL"),
    ("endpoint", "ftp://example.com", "'ftp://example.com'", "http(s) URL"),
    ("endpoint", "https://", "'https://'", "http(s) URL"),
    ("endpoint", "https://exa mple.com", "'https://exa mple.com'", "http(s) URL"),
    ("endpoint", "https://example.com:99999", "'https://example.com:99999'", "http(s) URL"),
    ("endpoint", "https://example.com/?a=1", "hidden", "without query"),
    ("endpoint", b"https://example.com", "a bytes", "http(s) URL"),
    ("enabled", "", "''", "True or False"),
    ("scrub", " ", "' '", "True or False"),
    ("enabled", "perhaps", "'perhaps'", "True or False"),
    ("enabled", 2, "2", "True or False"),
    ("cookie_secure", None, "missing", "True or False"),
    ("user_agent", "a\nb", "'a\\nb'", "plain ASCII"),
    ("user_agent", "", "''", "plain ASCII"),
    ("mint", "sometimes", "'sometimes'", '"auto", "always", "never"'),
    ("consent", "full", "'full'", "a function"),
    ("exclude_paths", "/health", "'/health'", "a list of"),
    ("exclude_paths", ["health"], "['health']", 'begin with "/"'),
    ("exclude_paths", ["/a/*/b"], "['/a/*/b']", "at its end"),
    ("flush_interval", -1, "-1", "0 or more"),
    ("flush_interval", "soon", "'soon'", "a number of seconds"),
    ("flush_interval", float("nan"), "nan", "a number of seconds"),
    ("flush_interval", "inf", "'inf'", "a number of seconds"),
    ("flush_interval", 10**400, "1000", "a number of seconds"),
    ("flush_interval", True, "True", "a number of seconds"),
    ("concurrency", 0, "0", "1 or more"),
    ("concurrency", "9" * 5000, "'999", "a whole number"),
    ("concurrency", 1.5, "1.5", "a whole number"),
    ("outbox", 5, "5", "a directory"),
    ("cookie_domain", "https://example.com", "'https://example.com'", "without scheme and path"),
    ("cookie_domain", "example.com/shop", "'example.com/shop'", "without scheme and path"),
    ("cookie_domain", "example.com:8000", "'example.com:8000'", "without a port"),
    ("cookie_domain", "com", "'com'", "at least two labels"),
    ("cookie_domain", "localhost", "'localhost'", "None for host-only"),
    ("cookie_domain", "127.0.0.1", "'127.0.0.1'", "None for host-only"),
    ("cookie_domain", "example.com.", "'example.com.'", "without a dot at its end"),
    ("cookie_domain", "straße.de", "'straße.de'", "xn--"),
    ("cookie_domain", "exam ple.com", "'exam ple.com'", "at least two labels"),
    ("cookie_domain", "co.uk", "'co.uk'", '"mysite.co.uk"'),
    ("cookie_domain", "github.io", "'github.io'", "public suffix"),
    ("cookie_domain", "foo.ck", "'foo.ck'", "public suffix"),
    ("cookie_domain", ["example.com", "co.uk"], "['example.com', 'co.uk']", "public suffix"),
    ("cookie_domain", [], "[]", '"auto"'),
    ("cookie_domain", [5], "[5]", '"auto"'),
    ("cookie_domain", 5, "5", '"auto"'),
    ("cookie_domain", "", "''", "None for host-only"),
    ("cookie_domain", ["example.com", "auto"], "['example.com', 'auto']", "at least two labels"),
    ("transport", "smtp", "'smtp'", '"http", "curl", "celery", "kafka", "redis"'),
    ("celery_app", "proj.celery", "'proj.celery'", '"proj.celery:app"'),
    ("celery_app", 5, "5", '"proj.celery:app"'),
    ("allow_properties", {"Paid": "amount"}, "{'Paid': 'amount'}", '{"Paid": ["amount"]}'),
    ("allow_properties", {"Paid": [""]}, "{'Paid': ['']}", '{"Paid": ["amount"]}'),
    ("allow_properties", "Paid", "'Paid'", '{"Paid": ["amount"]}'),
    ("sample_rate", {"Scrolled": 10}, "{'Scrolled': 10}", '{"Scrolled": 0.1}'),
    ("sample_rate", {"Scrolled": "0.1"}, "{'Scrolled': '0.1'}", '{"Scrolled": 0.1}'),
    ("broker", "redis://host /0", "hidden", "redis://host:6379/0"),
    ("broker_options", "sasl.password", "hidden", "a mapping"),
    ("queue", "a queue", "'a queue'", "letters, digits"),
    ("shards", 0, "0", "1 or more"),
]


@pytest.mark.parametrize(
    ("name", "given", "shown", "expected"),
    REFUSED,
    ids=[f"{name} = {given!r:.40}" for name, given, *_ in REFUSED],
)
def test_the_error_for_a_malformed_setting_names_it_its_value_and_what_is_expected(
    name: str, given: object, shown: str, expected: str
) -> None:
    with pytest.raises(KoalaConfigError) as raised:
        loaded({name: given})

    message = str(raised.value)
    assert message.startswith(f"{name} is {shown}")
    assert expected in message
    assert f"KOALA_{name.upper()}" in message
    assert raised.value.setting == name
    assert len(message) < 500


@pytest.mark.parametrize(
    "key", ["sk_live_1a2b3c", "Bearer sk_live_1a2b3c", "'sk_live_1a2b3c'", ["sk_live_1a2b3c"]]
)
def test_a_secret_key_given_as_the_public_key_is_refused_and_not_shown(key: object) -> None:
    with pytest.raises(KoalaConfigError) as raised:
        loaded({"public_api_key": key})

    assert "1a2b3c" not in str(raised.value)
    assert 'begins with "pk_"' in str(raised.value)


def test_a_password_in_the_endpoint_is_refused_and_not_shown() -> None:
    with pytest.raises(KoalaConfigError) as raised:
        loaded({"endpoint": "https://ada:hunter2@collector.example.com"})

    assert "hunter2" not in str(raised.value)
    assert "without user and password" in str(raised.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "ada:hunter2@collector.example.com",
        "https://ada: hunter2@collector.example.com",
        "https://ada:hunter2@[collector.example.com",
        "https://collector.example.com/?token=hunter2",
        "https://collector.example.com/#hunter2",
        ["https://ada:hunter2@collector.example.com"],
    ],
)
def test_a_secret_in_a_malformed_endpoint_is_not_shown(endpoint: object) -> None:
    with pytest.raises(KoalaConfigError, match=r"^endpoint is hidden") as raised:
        loaded({"endpoint": endpoint})

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("transport", "setting", "expected"),
    [
        ("celery", "celery_app", '"proj.celery:app", for transport="celery"'),
        ("kafka", "broker", '"host:9092,host:9092", for transport="kafka"'),
        ("redis", "broker", '"redis://host:6379/0", for transport="redis"'),
    ],
)
def test_the_error_for_an_incomplete_transport_says_what_it_needs(
    transport: str, setting: str, expected: str
) -> None:
    with pytest.raises(KoalaConfigError, match=f"^{setting} is missing") as raised:
        loaded({"transport": transport})

    assert expected in str(raised.value)


def test_a_broker_address_of_another_kind_is_refused_and_not_shown() -> None:
    with pytest.raises(KoalaConfigError) as raised:
        loaded({"transport": "redis", "broker": "amqp://ada:hunter2@host"})

    assert str(raised.value).startswith("broker is hidden")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("transport", ["curl", "celery", "kafka", "redis"])
def test_the_error_for_a_missing_extra_says_how_to_install_it(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("koala_middleware.config.settings.find_spec", lambda _: None)
    with pytest.raises(KoalaConfigError, match=r"koala-middleware\[" + transport):
        loaded({"transport": transport, "celery_app": "proj.celery:app", "broker": "redis://host"})


def test_switched_off_a_transport_needs_nothing() -> None:
    assert not loaded({"transport": "kafka", "enabled": False}).enabled


TAKEN = [
    ("cookie_domain", "auto", "auto"),
    ("cookie_domain", "AUTO", "auto"),
    ("cookie_domain", "example.com", "example.com"),
    ("cookie_domain", ".Example.COM", "example.com"),
    ("cookie_domain", "app.example.com", "app.example.com"),
    ("cookie_domain", "myapp.herokuapp.com", "myapp.herokuapp.com"),
    ("cookie_domain", "xn--strae-oqa.de", "xn--strae-oqa.de"),
    ("cookie_domain", "printer.local", "printer.local"),
    ("cookie_domain", ["example.com", "example.org"], ("example.com", "example.org")),
    ("cookie_domain", "example.com, example.org", ("example.com", "example.org")),
    ("cookie_domain", None, None),
    ("cookie_domain", "none", None),
    ("endpoint", " http://127.0.0.1:8600/ ", "http://127.0.0.1:8600"),
    ("endpoint", "https://[::1]:8600/koala/", "https://[::1]:8600/koala"),
    ("cookie_secure", "Yes", True),
    ("flush_interval", "0", 0.0),
    ("concurrency", "8", 8),
    ("consent", "", None),
    ("outbox", "", None),
    ("outbox", " ", None),
    ("outbox", "/var/lib/app/koala\n", "/var/lib/app/koala"),
    ("celery_app", " proj.celery:app ", "proj.celery:app"),
    ("broker_options", '{"socket_keepalive": true}', {"socket_keepalive": True}),
    ("queue", "site.koala", "site.koala"),
    ("exclude_paths", ["/health", "/static/*"], ("/health", "/static/*")),
]


@pytest.mark.parametrize(
    ("name", "given", "value"), TAKEN, ids=[f"{name} = {given!r}" for name, given, _ in TAKEN]
)
def test_a_setting_converts_its_value(name: str, given: object, value: object) -> None:
    assert getattr(loaded({name: given}), name) == value
