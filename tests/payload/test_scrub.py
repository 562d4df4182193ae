"""What is mask_secrets, and what is left alone: a firewall that eats harmless values would be switched off."""

from __future__ import annotations

import json
import re
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from koala_middleware.payload.scrub import texts
from koala_middleware.payload.scrub.cards import is_card_number
from koala_middleware.payload.scrub.scrubber import scrub
from koala_middleware.payload.scrub.texts import mask_secrets, mask_thoroughly
from koala_middleware.payload.values.cleaner import TEXT_BYTES, plain
from koala_middleware.payload.values.sized_json import to_json

MASK = "[scrubbed]"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"  # made up
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc==\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "password",
            "Password",
            "PASSWORD",
            "user_password",
            "passwordConfirmation",
            "new-password",
            "passwd",
        ),
        *("pwd", "pass", "passphrase", "secret", "client_secret", "clientSecret", "secrets", "credentials"),
        *("authorization", "Authorization", "Proxy-Authorization", "auth", "cookie", "Set-Cookie"),
        *(
            "token",
            "access_token",
            "accessToken",
            "ACCESS_TOKEN",
            "X-Auth-Token",
            "csrfmiddlewaretoken_token",
        ),
        *("csrftoken", "api_key", "apiKey", "APIKey", "x-api-key", "api.key", "apikey", "private key", "otp"),
        *("card", "card_number", "cardNumber", "CardNumber", "credit-card", "creditcard", "IDCard", "cards"),
        *("cvv", "cvv2", "CVC", "card_cvc", "ssn", "user_ssn", "socialSecurityNumber", "pin", "iban", "jwt"),
    ],
)
def test_everything_under_a_secrets_name_is_masked(name: str) -> None:
    assert scrub({name: "x", "deep": [{name: {"a": [1]}}]}) == {name: MASK, "deep": [{name: MASK}]}


@pytest.mark.parametrize(
    "name",
    [
        *("discard", "cardinal", "wildcard", "cardboard", "postcard", "dashboard", "scorecard", "cardholder"),
        *(
            "secretary",
            "tokenizer",
            "passenger",
            "boarding_pass",
            "compass",
            "author",
            "authority",
            "pin_code",
        ),
        *(
            "spinning",
            "shipping",
            "key",
            "keyboard",
            "api_version",
            "monkey",
            "session",
            "assignment",
            "classname",
        ),
        *(
            "card_brand",
            "cardType",
            "card_last4",
            "card_last_four",
            "token_count",
            "tokenType",
            "password_length",
        ),
        *("password_changed_at", "token_expires_at", "payment_method", "auth_method", "pan_european", ""),
    ],
)
def test_a_name_that_only_resembles_one_is_left_alone(name: str) -> None:
    assert scrub({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("value", [None, True, False])
def test_whether_there_is_a_secret_is_no_secret(value: object) -> None:
    assert scrub({"password": value, "has_token": value}) == {"password": value, "has_token": value}


def test_numbers_of_tokens_are_no_secret_but_numbers_of_cards_are() -> None:
    assert scrub({"prompt_tokens": 812, "token": 3.5}) == {"prompt_tokens": 812, "token": 3.5}
    assert scrub({"cvv": 123, "card": 4111, "ssn": 78051120}) == {"cvv": MASK, "card": MASK, "ssn": MASK}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("4111111111111111", MASK, id="Visa"),
        pytest.param("4111 1111 1111 1111", MASK, id="in groups"),
        pytest.param("4111-1111-1111-1111", MASK, id="with hyphens"),
        pytest.param("4111 11-11 11 111111", MASK, id="in odd groups"),
        pytest.param("5555555555554444", MASK, id="Mastercard"),
        pytest.param("2223003122003222", MASK, id="Mastercard of the new range"),
        pytest.param("3782 822463 10005", MASK, id="American Express"),
        pytest.param("6011111111111117", MASK, id="Discover"),
        pytest.param("30569309025904", MASK, id="Diners Club"),
        pytest.param("3530111333300000", MASK, id="JCB"),
        pytest.param("6250941006528599", MASK, id="UnionPay"),
        pytest.param(
            "my card: 4111 1111 1111 1111 12/27 123", f"my card: {MASK} 12/27 123", id="with its expiry"
        ),
        pytest.param("7 4111111111111111 9", f"7 {MASK} 9", id="between numbers"),
        pytest.param("NO 12 for AB12 4111 1111 1111 1111", f"NO 12 for AB12 {MASK}", id="after no IBAN"),
        pytest.param("pay4:4111111111111111,5555555555554444", f"pay4:{MASK},{MASK}", id="two"),
        pytest.param("Bearer abc123xyz", MASK, id="bearer token"),
        pytest.param(
            "authorization: bearer  abcdefghijklmnopqrstu", f"authorization: {MASK}", id="without digits"
        ),
        pytest.param("Basic YWRhOmh1bnRlcjI=", MASK, id="basic credentials"),
        pytest.param(f"got {JWT}!", f"got {MASK}!", id="JWT"),
        pytest.param(f"a\n{PRIVATE_KEY}\nb", f"a\n{MASK}\nb", id="private key"),
        pytest.param(PRIVATE_KEY[:50], MASK, id="the beginning of a private key"),
        pytest.param("AKIAIOSFODNN7EXAMPLE", MASK, id="AWS"),
        pytest.param("ghp_16C7e42F292c6912E7710c838347Ae178B4a", MASK, id="GitHub"),
        pytest.param("xoxb-123456789012-abcdefABCDEF", MASK, id="Slack"),
        pytest.param("sk_live_4eC39HqLyjWDarjtT1zdp7dc", MASK, id="Stripe"),
        pytest.param("sk-proj-4eC39HqLyjWDarjtT1zdp7dc", MASK, id="OpenAI"),
        pytest.param("AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY", MASK, id="Google"),
        pytest.param("glpat-4eC39HqLyjWDarjtT1zd", MASK, id="GitLab"),
        pytest.param("postgres://ada:hunter2@db/app", f"postgres://{MASK}@db/app", id="password in a URL"),
        pytest.param("ftp://a:b@c", f"ftp://{MASK}@c", id="a short URL"),
        pytest.param("amqp://ada:hun@ter/2@mq:5672", f"amqp://{MASK}@mq:5672", id="unquoted in a URL"),
        pytest.param(
            "smtp://ada@example.com:hunter2@mail", f"smtp://{MASK}@mail", id="in a URL, after an email"
        ),
        pytest.param("amqp://a:b@c,amqp://d:e@f", f"amqp://{MASK}@c,amqp://{MASK}@f", id="in two URLs"),
        pytest.param(
            "https://ada:hunter2@www/ is of ada@example.com",
            f"https://{MASK}@www/ is of ada@example.com",
            id="in a URL before an email",
        ),
        pytest.param("/reset?token=abc&step=2", f"/reset?token={MASK}&step=2", id="secret in a query"),
        pytest.param(
            "/a?next=%2Freset%3Ftoken%3Dabc&b=1", f"/a?next=%2Freset%3Ftoken%3D{MASK}&b=1", id="in its query"
        ),
        pytest.param("pwd=x", f"pwd={MASK}", id="a short pair"),
        pytest.param("otp%3D123", f"otp%3D{MASK}", id="a short pair of a query's query"),
        pytest.param('{"pin":"1"}', f'{{"pin":"{MASK}"}}', id="short JSON"),
        pytest.param('token="a b" x=1', f'token="{MASK}" x=1', id="a pair in quotes"),
        pytest.param("token='a \"b' x=1", f"token='{MASK}' x=1", id="a pair in single quotes"),
        pytest.param(
            "Server=db;Password=hunter2;Port=1", f"Server=db;Password={MASK};Port=1", id="connection string"
        ),
        pytest.param(
            '{"password": "hunter2", "a": 1}', f'{{"password": "{MASK}", "a": 1}}', id="JSON in a text"
        ),
        pytest.param(
            r'{"password": "horse, \" battery\\", "a": "b"}',
            f'{{"password": "{MASK}", "a": "b"}}',
            id="several words in JSON",
        ),
        pytest.param('{"a": 1, "password": "hun ter', f'{{"a": 1, "password": "{MASK}', id="JSON cut short"),
    ],
)
def test_what_looks_like_a_secret_is_masked_in_any_text(text: str, left: str) -> None:
    assert scrub(["x", {"note": text}]) == ["x", {"note": left}]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("4111111111111112", id="a wrong check digit"),
        pytest.param("4004171506213", id="a barcode"),
        pytest.param("304-3069309-3025904", id="an order number in groups"),
        pytest.param("DE89 3704 0044 0532 0130 00", id="an IBAN"),
        pytest.param("1700000000000", id="a time in milliseconds"),
        pytest.param("9111111111111111", id="no network's number"),
        pytest.param("41111111111111111111111", id="too many digits"),
        pytest.param("a4111111111111111", id="within a word"),
        pytest.param("4111111111111111f00d", id="the beginning of a hexadecimal id"),
        pytest.param("41111111-1111-1111-1111-111111111111", id="a UUID of digits"),
        pytest.param("018b1f3e-7c3a-7d52-8a1f-1842c193d3ba", id="a UUID"),
        pytest.param("2023-11-30T02:51:36.840Z", id="a time"),
        pytest.param("+44 20 7946 0958", id="a telephone number"),
        pytest.param("52.5200066, 13.4049540", id="a place"),
        pytest.param("the bearer of bad news", id="a bearer"),
        pytest.param("Basic subscription", id="a plan"),
        pytest.param("https://www.example.com/sk-ako-si-vybrat-produkt", id="a Slovak page"),
        pytest.param("task-force-management-2024-summary", id="a slug"),
        pytest.param("pk_1a2b3c4d5e6f7g8h9i0j1k2l", id="a public key"),
        pytest.param("/search?q=card+games&page=2", id="a harmless query"),
        pytest.param("ada@example.com", id="an email"),
        pytest.param("https://www.example.com/?mail=ada@example.com", id="an email in a URL"),
        pytest.param("http://localhost:8000/@ada", id="a port"),
        pytest.param("http://[::1]:8000/@ada", id="an IPv6 address"),
        pytest.param('{"at":"http://localhost:8000","by":"ada@example.com"}', id="a URL before an email"),
        pytest.param('{"password": "", "a": "b"}', id="an empty password"),
        pytest.param(
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)", id="a browser"
        ),
        pytest.param('<a href="/reset?token=">Reset</a> "x"', id="an empty parameter at a URL's end"),
        pytest.param('{"next": "/login?a=1&token=", "user": "bo"}', id="such a URL in JSON"),
    ],
)
def test_what_only_resembles_a_secret_stays(text: str) -> None:
    assert scrub({"note": text}) == {"note": text}


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(("X-Api-Key", "k3y"), id="a tuple"),
        pytest.param(["password", {"a": 1}], id="a list"),
        pytest.param((b"authorization", b"k3y"), id="bytes, as ASGI's headers"),
    ],
)
def test_a_pair_is_judged_by_its_first_item(pair: Any) -> None:
    name = pair[0].decode() if isinstance(pair[0], bytes) else pair[0]
    assert scrub({"headers": [pair, ("Accept", "text/html"), (1, 2)]}) == {
        "headers": [[name, MASK], ["Accept", "text/html"], [1, 2]]
    }


def test_the_items_of_a_mapping_are_judged_by_their_names() -> None:
    assert scrub({"password": "hunter2", "step": 2}.items()) == [["password", MASK], ["step", 2]]
    assert scrub([("has_password", True), ("prompt_tokens", 7), ("password", None)]) == [
        ["has_password", True],
        ["prompt_tokens", 7],
        ["password", None],
    ]


@pytest.mark.parametrize("label", ["name", "key"])
def test_an_object_with_a_name_and_a_value_is_judged_by_its_name(label: str) -> None:
    """As browsers, HAR files and form libraries write headers and fields."""
    for value in ("hunter2", {"a": ["hunter2"]}):
        assert scrub([{label: "password", "value": value}]) == [{label: "password", "value": MASK}]
    assert scrub.flat_json({label: "password", "value": "hunter2"}) is None
    assert scrub({label: "plan", "value": "pro"}) == {label: "plan", "value": "pro"}


def test_a_whole_number_that_is_a_cards_is_masked() -> None:
    assert scrub([4111111111111111, 4111111111111112, 1700000000000]) == [
        MASK,
        4111111111111112,
        1700000000000,
    ]


def test_a_secret_in_a_name_is_masked() -> None:
    assert scrub({"card 4111111111111111": 1}) == {f"card {MASK}": MASK}
    assert scrub({(1, "sk_live_4eC39HqLyjWDarjtT1zdp7dc"): 1}) == {f"1,{MASK}": 1}


def test_a_secret_in_bytes_or_an_object_is_masked() -> None:
    class Key(str):
        __slots__ = ()

    assert scrub([b"Bearer abc123xyz", Key("Bearer abc123xyz")]) == [MASK, MASK]


@pytest.mark.parametrize("before", range(TEXT_BYTES - 20, TEXT_BYTES + 5))
def test_a_secret_where_a_text_is_cut_leaves_nothing_behind(before: int) -> None:
    said = scrub("x" * (before - 1) + " 4111 1111 1111 1111 " + "y" * 50_000)
    assert "4111" not in said


def test_masks_that_shorten_a_text_do_not_bring_its_unread_end_into_view() -> None:
    said = scrub("4111 1111 1111 1111, " * 5_000)
    assert re.search("[0-9]", said) is None


@pytest.mark.parametrize(
    "hostile",
    [
        *(
            "=",
            "a=",
            "token=",
            "%3D",
            "@",
            "://",
            "://a:",
            "://a:b",
            "://a:b@",
            "://a:@:",
            ":@",
            "a@:/",
            "Bearer ",
            "Bearer",
            "Basic ",
            "bearer a",
        ),
        *(
            "eyJ",
            "-eyJ",
            "eyJaaaaaaaa.",
            "eyJ.eyJ",
            "sk-",
            "-sk-",
            "sk_a",
            " sk-aaaaaaaaaaaaaaaaaaaa",
            "xoxb-",
        ),
        *(
            "AKIA",
            "SG.",
            "-----BEGIN ",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN A PRIVATE KEY-",
            "A",
            "a.",
            "_a",
        ),
        *(
            *("bearer:", "bearer 1", "Bearer a"),
            "1",
            "4",
            "4 ",
            "4-",
            "41 ",
            "4111 1111 1111 111 ",
            "0000000000000000000 ",
            "1234abcd-",
            '"a":',
            '"',
            "'a': ",
            'pwd="',
            "pwd='",
            "pwd=\"'",
            'pwd="\\',
            "pwd=\"pwd='",
            "\\",
        ),
        *(" ", "\n", "\t ", "%41", "a%3D", "é", "\U0001f428"),
    ],
)
def test_patterns_take_linear_time(hostile: str) -> None:
    """Four times the text takes about four times as long; were it quadratic, it would be sixteen."""

    def seconds(length: int) -> float:
        text = (hostile * length)[:length]
        best = float("inf")
        for _ in range(3):
            start = process_time()
            mask_secrets(text)
            best = min(best, process_time() - start)
        return best

    seconds(1_000)
    assert seconds(64 * 1024) < max(10 * seconds(16 * 1024), 0.05)


def cards() -> st.SearchStrategy[str]:
    prefix = st.sampled_from(["4", "51", "55", "2221", "34", "37", "6011", "65", "3530"])
    length = {"34": 15, "37": 15}

    def complete(start: str, rest: str) -> str:
        digits = (start + rest)[: length.get(start, 16) - 1]
        return next(digits + last for last in "0123456789" if is_card_number(digits + last))

    return st.builds(complete, prefix, st.text("0123456789", min_size=18, max_size=18))


def grouped(digits: str, separator: str) -> str:
    return separator.join(re.findall(".{1,4}", digits))


tokens = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["Bearer ", "ghp_", "sk_live_", "sk-", "glpat-", "eyJ"]),
        st.text("abcdefABCDEF", min_size=10, max_size=20),
        st.text("0123456789", min_size=10, max_size=10),
    ),
).map(lambda token: token + "." + token if token.startswith("eyJ") else token)
looking_secret = st.builds(grouped, cards(), st.sampled_from(["", " ", "-"])) | tokens
around = st.sampled_from(["", " ", ": ", "\n", "(", "\u2013", "/", '"'])
wrapped = st.tuples(around, looking_secret, st.sampled_from(["", " ", ",", "\n", ")", '"', "!"]))
secret_names = st.sampled_from(["password", "cardNumber", "X-Api-Key", "client_secret"])


@st.composite
def with_secret(draw: st.DrawFn) -> tuple[str, Any]:
    """A secret, and a nested value that holds it somewhere: in a text, under a name, or as a name."""
    before, secret, after = draw(wrapped)
    value: Any = before + secret + after
    if draw(st.booleans()):
        secret = draw(st.from_regex(r"hunter[0-9]{8}", fullmatch=True))
        value = {draw(secret_names): draw(st.sampled_from([secret, [secret], {"a": secret}]))}
    for _ in range(draw(st.integers(0, 5))):
        value = draw(st.sampled_from([[1, value], (value, "x"), {"a": value, "b": 1}, {"c": [value]}]))
    return secret, value


@pytest.mark.parametrize(
    "kind", ["glpat-", "npm_", "pypi-", "hf_", "sk-", "sk-proj-", "sk_live_", "rk-", "rk_", "ya29.", "AIza"]
)
def test_a_token_is_masked_whatever_characters_it_is_made_of(kind: str) -> None:
    @given(st.text("aB1_-", min_size=30, max_size=40))
    @settings(deadline=None)
    def masks(rest: str) -> None:
        assert mask_secrets(f"{kind}{rest}1") == MASK

    masks()


@pytest.mark.parametrize("pattern", [texts._TOKEN, texts._URL_PASSWORD, texts._NAME_OF_VALUE])
def test_what_a_pattern_would_mask_is_never_taken_for_harmless_at_first_sight(
    pattern: re.Pattern[str],
) -> None:
    @given(st.from_regex(pattern), st.sampled_from(["x", '"x"', ""]))
    @settings(max_examples=examples(1_000), deadline=None)
    def seen(secret: str, after: str) -> None:
        assert mask_secrets(secret + after) == mask_thoroughly(secret + after)

    seen()


@given(st.builds(grouped, cards(), st.sampled_from(["", " ", "-"])))
@settings(deadline=None)
def test_a_card_number_is_never_taken_for_harmless_at_first_sight(number: str) -> None:
    assert mask_secrets(number) == mask_thoroughly(number) == MASK


@given(with_secret())
@settings(max_examples=examples(300), deadline=None)
def test_no_secret_is_left_wherever_it_stands(case: tuple[str, Any]) -> None:
    secret, value = case
    left = to_json(scrub(value)).decode()
    assert secret.removeprefix("Bearer ") not in left
    assert json.loads(left) == scrub(plain(value))


@given(with_secret())
@settings(max_examples=examples(100), deadline=None)
def test_scrubbing_twice_changes_nothing_more(case: tuple[str, Any]) -> None:
    once = scrub(case[1])
    assert scrub(once) == once
