"""Wrong calls raise and say what to write instead; bad data never raises, is logged once and counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from koala_middleware import KoalaClient
from koala_middleware.payload.drafts import Call

ADA = "ada@example.com"
Say = Callable[[Any], object]  # wrong calls: the context's own types would refuse them


@pytest.fixture
def client() -> KoalaClient:
    return KoalaClient(public_api_key="pk_1", delivery="off")


def identified(client: KoalaClient, *arguments: Any) -> tuple[str | None, Any]:
    """The email and the traits that `identify` takes down of such a call."""
    context = client.person(profile_id="an-id")._context
    context.identify(*arguments)
    calls: list[Call] = context._take()
    return context.email, calls[0].data if calls else None


WRONG_CALLS: list[tuple[Say, type[Exception], str]] = [
    (lambda k: k.identify(7), TypeError, "identify() takes a str or None as email, not int"),
    (lambda k: k.identify(ADA, ["pro"]), TypeError, "identify() takes a mapping or None as traits, not list"),
    (
        lambda k: k.identify({"a": 1}, {"b": 2}),
        TypeError,
        "identify() takes a str or None as email, not dict",
    ),
    (
        lambda k: k.identify(ADA, {"$account": "example.com"}),
        TypeError,
        'identify() takes a mapping, such as {"domain": "example.com"}, as traits["$account"], not str',
    ),
    (
        lambda k: k.identify(ADA, {"$account": [{"group_id": "a"}, {"group_id": "b"}]}),
        TypeError,
        'as traits["$account"], not list',
    ),
    (
        lambda k: k.identify(ADA, {"$account": {"group_id": "a", "groupId": "b"}}),
        ValueError,
        "identify() takes one group id: here group_id and groupId differ.",
    ),
    (lambda k: k.track(None), TypeError, 'track() takes a str, such as "Created Account"'),
    (lambda k: k.track(""), ValueError, 'needs an event\'s name, such as track("Created Account")'),
    (lambda k: k.track("A", "B"), TypeError, "track() takes a mapping or None as properties, not str"),
    (lambda k: k.track("A", message_id=7), TypeError, "track() takes a str or None as message_id, not int"),
    (lambda k: k.track("A", context=[]), TypeError, "track() takes a mapping or None as context, not list"),
    (
        lambda k: k.track("A", sent_at="now"),
        TypeError,
        "track() takes a datetime or None as sent_at, not str",
    ),
    (
        lambda k: k.track("A", sent_at=datetime(2026, 1, 1)),  # noqa: DTZ001  (the wrong call)
        ValueError,
        "track() takes sent_at with a time zone, such as datetime.now(UTC)",
    ),
    (lambda k: k.page(7), TypeError, "page() takes a str or None as name, not int"),
    (lambda k: k.page("Home", 7), TypeError, "page() takes a mapping or None as properties, not int"),
    (lambda k: k.account(), ValueError, 'account() needs domain or account_id, such as account(domain="'),
    (lambda k: k.account(""), ValueError, "account() needs domain or account_id"),
    (lambda k: k.account(7), TypeError, "account() takes a str or None as domain, not int"),
    (lambda k: k.account(account_id=7), TypeError, "account() takes a str or None as account_id, not int"),
    (
        lambda k: k.account("example.com").identify([]),
        TypeError,
        "identify() takes a mapping or None as traits, not list",
    ),
    (
        lambda k: k.account("example.com").identify({}, group_id=7),
        TypeError,
        "identify() takes a str or None as group_id, not int",
    ),
    (
        lambda k: k.account("example.com").identify({"groupId": "a"}, group_id="b"),
        ValueError,
        "identify() takes one group id",
    ),
    (lambda k: k.account("example.com").track(7), TypeError, 'track() takes a str, such as "Created'),
    (lambda k: k.consent("yes"), ValueError, 'consent() takes "full", "anonymous" or "none", not \'yes\''),
    (lambda k: k.consent(None), ValueError, 'consent() takes "full", "anonymous" or "none", not None'),
]


@pytest.mark.parametrize(("say", "error", "message"), WRONG_CALLS)
def test_a_wrong_call_raises_and_takes_nothing_down(
    client: KoalaClient, say: Any, error: type[Exception], message: str
) -> None:
    context = client.person(profile_id="an-id")._context

    with pytest.raises(error) as raised:
        say(context)

    assert message in str(raised.value)
    assert ADA not in str(raised.value)
    assert not context._calls


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({}, ValueError, 'person() needs profile_id or email, such as person(email="ada@example.com")'),
        ({"profile_id": "", "email": ""}, ValueError, "person() needs profile_id or email"),
        ({"email": 7}, TypeError, "person() takes a str or None as email, not int"),
        ({"profile_id": 7}, TypeError, "person() takes a str or None as profile_id, not int"),
        ({"email": "not an email"}, ValueError, "person() needs profile_id or email"),
        ({"email": ADA, "traits": []}, TypeError, "identify() takes a mapping or None as traits, not list"),
    ],
)
def test_a_wrong_person_raises_at_the_call_rather_than_at_the_block(
    client: KoalaClient, keywords: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        client.person(**keywords)

    assert message in str(raised.value)


@pytest.mark.parametrize("call", ["flush", "close"])
@pytest.mark.parametrize("timeout", ["5", [5]])
def test_a_timeout_that_is_not_a_number_raises_whether_or_not_anything_waits(
    client: KoalaClient, call: str, timeout: object
) -> None:
    with pytest.raises(TypeError) as raised:
        getattr(client, call)(timeout)

    kind = type(timeout).__name__
    assert str(raised.value) == f"{call}() takes a number of seconds or None as timeout, not {kind}"


NO_EMAILS = ["not an email", "ada@", "@example.com", "a@b@c", "Ada <ada@example.com>", "ada@exa mple.com"]


@pytest.mark.parametrize("email", [*NO_EMAILS, 7, b"ada@example.com", ["ada@example.com"]])
def test_an_invalid_email_is_ignored_and_its_traits_are_sent(client: KoalaClient, email: Any) -> None:
    assert identified(client, {"email": email, "plan": "pro"}) == (None, {"plan": "pro"})


@pytest.mark.parametrize("email", NO_EMAILS)
def test_an_invalid_email_as_the_first_argument_is_left_out_and_its_traits_are_sent(
    client: KoalaClient, email: str
) -> None:
    assert identified(client, email, {"plan": "pro"}) == (None, {"plan": "pro"})


def test_an_invalid_email_is_logged_once_counted_and_not_shown(
    client: KoalaClient, caplog: pytest.LogCaptureFixture
) -> None:
    for email in ("ada at example", {"nested": "ada"}, 7):
        identified(client, {"email": email, "plan": "pro"})

    assert [record.message for record in caplog.records] == [
        "identify() was given an invalid email; it is ignored, the rest is sent (logged once)"
    ]
    assert list(client._pipeline.log.counts.values()) == [3]


def test_a_person_with_an_invalid_email_is_the_profile_alone(
    client: KoalaClient, caplog: pytest.LogCaptureFixture
) -> None:
    context = client.person(profile_id="an-id", email="ada at example")._context

    assert (context.profile_id, context.email) == ("an-id", None)
    assert "person() was given an invalid email" in caplog.text


@pytest.mark.parametrize("email", [None, ""])
def test_no_email_at_all_is_no_fault(
    client: KoalaClient, email: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert identified(client, {"email": email, "plan": "pro"}) == (None, {"plan": "pro"})
    assert identified(client, email, {"plan": "pro"}) == (None, {"plan": "pro"})
    assert not caplog.records


@pytest.mark.parametrize(
    "arguments",
    [
        (f" {ADA} ",),
        (ADA, {}),
        (ADA, {"email": "other@example.com"}),
        ({"email": ADA},),
        (None, {"email": ADA}),
    ],
)
def test_an_email_comes_alone_or_among_the_traits_and_the_argument_wins(
    client: KoalaClient, arguments: tuple[Any, ...]
) -> None:
    assert identified(client, *arguments) == (ADA, {"email": ADA})


@pytest.mark.parametrize(
    "account",
    [
        {"domain": "example.com", "group_id": "acme", "billing_plan": "pro"},
        {"domain": "example.com", "groupId": "acme", "billingPlan": "pro"},
        {"group_id": "acme", "groupId": "acme"},
    ],
)
def test_a_company_may_be_spelled_either_way(client: KoalaClient, account: dict[str, str]) -> None:
    assert identified(client, ADA, {"$account": account}) == (ADA, {"$account": account, "email": ADA})


def test_a_companys_group_may_come_as_an_argument(client: KoalaClient) -> None:
    session = client.account(domain="example.com")
    session._open().identify({"plan": "pro"}, group_id="acme")

    assert session._context._take()[0].data == {"plan": "pro", "group_id": "acme"}


def test_the_handlers_own_mappings_are_left_as_they_are(client: KoalaClient) -> None:
    traits = {"email": "no email", "$account": {"groupId": "a"}}
    identified(client, traits)

    assert traits == {"email": "no email", "$account": {"groupId": "a"}}


def test_sent_at_is_when_it_happened(client: KoalaClient) -> None:
    context = client.person(email=ADA)._context
    context.track("Came", sent_at=datetime(2026, 1, 1, tzinfo=UTC))

    assert context._take()[0].at == 1_767_225_600_000_000_000


def test_turned_off_wrong_calls_still_raise_and_right_ones_do_nothing() -> None:
    context = KoalaClient(enabled=False).person(email=ADA)._context
    context.identify("no email", {"plan": "pro"})
    context.track("Came")

    assert not context._calls
    with pytest.raises(TypeError, match="takes a str"):
        context.track(7)  # type: ignore[call-overload]  # the wrong call


def test_an_identify_without_email_and_traits_is_logged(
    client: KoalaClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert identified(client) == (None, None)
    assert identified(client, None) == (None, None)

    assert caplog.text.count("identify() was given neither an email nor traits") == 1


def test_a_forgotten_with_raises_with_the_line_to_write(client: KoalaClient) -> None:
    with pytest.raises(AttributeError, match=r"with client\.person\(…\) as koala: koala\.track\(…\)"):
        client.person(email=ADA).track("Paid")
