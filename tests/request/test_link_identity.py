"""Identity in a link, and how little of a hostile link is believed."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from koala_middleware.request.link_identity import LinkIdentity, identity_from_link, without_identity

ADA = "ada@example.com"
CODED = b64encode(ADA.encode()).decode()


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("ko_e=ada%40example.com", id="ko_e as it is"),
        pytest.param("ko_e=ada@example.com", id="ko_e unquoted"),
        pytest.param(f"a=1&ko_e={CODED}&b=2", id="ko_e in base64"),
        pytest.param(f"utm_id={CODED}", id="utm_id in base64"),
        pytest.param(f"utm_id={CODED.rstrip('=')}", id="without padding"),
        pytest.param(f"ko_e=nonsense&utm_id={CODED}", id="the first that holds an email"),
    ],
)
def test_a_link_names_its_visitor(query: str) -> None:
    assert identity_from_link(query) == LinkIdentity(ADA, {})


@pytest.mark.parametrize("email", ["o'neil+news>?@example.co.uk".replace(">?", "??"), "ada~~~@example.com"])
def test_both_alphabets_of_base64_are_read(email: str) -> None:
    for coded in (b64encode(email.encode()), urlsafe_b64encode(email.encode())):
        for query in (f"ko_e={quote(coded.decode())}", f"ko_e={coded.decode()}"):
            assert identity_from_link(query) == LinkIdentity(email, {})


def test_a_link_gives_traits() -> None:
    query = urlencode({"ko_e": ADA, "ko_trait_plan": "pro", "ko_trait_firstName": "Ada", "other": "x"})
    assert identity_from_link(query) == LinkIdentity(ADA, {"plan": "pro", "firstName": "Ada"})
    assert identity_from_link("ko_trait_plan=pro") == LinkIdentity(None, {"plan": "pro"})


@pytest.mark.parametrize(
    "query",
    [
        *("", "a=1", "ko_e", "ko_e=", "ko_e=ada", "ko_e=%00%FF", "utm_id=spring-sale", "utm_id=12345"),
        *("ko_e=ada@localhost", "ko_e=a@b@example.com", "ko_e=ada@exam ple.com", "ko_e=<b>@example.com"),
        *("ko_e=ada@example.com%0AX: y", "ko_e=%20@example.com", "ko_e=" + "a" * 300 + "@example.com"),
        *(
            "ko_e=" + "QUFB" * 2_000,
            "utm_id=" + b64encode(b"\xff@\xff.com").decode(),
            "ko_ex=ada@example.com",
        ),
        *("ko_trait_=x", "ko_trait_%24account=x", "ko_trait_a.b=x", "ko_trait_email=eve@example.com"),
    ],
)
def test_a_doubtful_link_identifies_nobody(query: str) -> None:
    assert identity_from_link(query) is None


def test_traits_are_few_and_short() -> None:
    many = "&".join(f"ko_trait_t{number}=x" for number in range(100))
    assert len((identity_from_link(many) or LinkIdentity(None, {})).traits) == 20
    assert identity_from_link("ko_trait_a=" + "x" * 3_000) == LinkIdentity(None, {"a": "x" * 256})
    assert identity_from_link("ko_trait_a=x%0Ay%00") == LinkIdentity(None, {"a": "xy"})


def test_a_query_loses_only_what_identifies() -> None:
    query = "a=1&ko_e=x&b=%20&utm_source=news&utm_id=y&ko_trait_plan=pro&ko_trait%5Fname=z&c"
    assert without_identity(query) == "a=1&b=%20&utm_source=news&c"


texts = st.text(st.characters(), max_size=40)


@given(
    st.lists(st.tuples(st.sampled_from(["ko_e", "utm_id", "ko_trait_a", "ko_trait_", "x"]) | texts, texts))
)
@settings(max_examples=examples(200), deadline=None)
def test_no_link_raises_and_none_identifies_once_its_identity_is_taken_out(
    pairs: list[tuple[str, str]],
) -> None:
    for query in ("&".join(f"{name}={value}" for name, value in pairs), urlencode(pairs, errors="replace")):
        identity_from_link(query)
        assert identity_from_link(without_identity(query)) is None
