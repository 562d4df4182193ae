"""Any bytes in Cookie and Host: no exception, and the app's response unchanged except for one sound cookie."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples

from koala_middleware.identity.cookie import read_profile_id

if TYPE_CHECKING:
    from identity.conftest import Answer, Site

ID = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
LABEL = "[a-z0-9_-]{1,63}"
SET_COOKIE = re.compile(
    rf"ko_id={UUID4}(; (Domain={LABEL}(\.{LABEL})+|Max-Age=31536000|Path=/|SameSite=Lax)){{3,4}}"
)
OWN = [("x-own", "1"), ("cache-control", "no-store"), ("set-cookie", "own=1")]

# Pieces that parsers stumble over, among any bytes at all.
PIECES = [
    b"ko_id=",
    ID.encode(),
    b";",
    b"; ",
    b",",
    b'"',
    b"\\",
    b"=",
    b" ",
    b"\t",
    b"\x00",
    b"\r\n",
    b"\xff",
    b"a=1",
]
HOSTS = [
    b"www.",
    b"example",
    b".com",
    b".",
    b":8000",
    b"[",
    b"]",
    b"::1",
    b"127.0.0.1",
    b"; HttpOnly",
    b"@",
    b"xn--",
    b"_",
]
HOSTS += [b"co.uk", b"github.io", b"0x1", b"%2e", "straße".encode(), b"\x00", b"\n", b" "]


def bytes_of(pieces: list[bytes]) -> st.SearchStrategy[bytes]:
    mixed = st.lists(st.one_of(st.sampled_from(pieces), st.binary(max_size=8)), max_size=12)
    return st.one_of(st.binary(max_size=80), mixed.map(b"".join))


def sound(answer: Answer) -> bool:
    """The app's own answer, with at most our cookie behind it."""
    ours = [(name, value) for name, value in answer.headers if (name, value.partition(";")[0]) not in OWN]
    return (
        answer.status == 200
        and answer.body == b"the app's own answer"
        and len(answer.headers) - len(ours) == len(OWN)
        and all(name == "set-cookie" and SET_COOKIE.fullmatch(value) for name, value in ours)
        and len(ours) <= 1
    )


# Django holds cookies apart, which is a fixed number of examples slower; the reader is the same.
@settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cookies=st.lists(bytes_of(PIECES), max_size=3), hosts=st.lists(bytes_of(HOSTS), max_size=2))
def test_any_bytes(site: Site, cookies: list[bytes], hosts: list[bytes]) -> None:
    site.handler = lambda koala: [*OWN, *([] if koala.profile_id else [("x-broken", "1")])]
    headers = [(b"cookie", value) for value in cookies] + [(b"host", value) for value in hosts]

    answer = site.raw("GET", "/", headers)

    assert sound(answer), answer
    assert len(answer.set_cookies) == (
        0 if any(_certain(value) for value in cookies) else len(answer.set_cookies)
    )


def _certain(cookie: bytes) -> bool:
    return re.match(rb"(.*; ?)?ko_id=" + ID.encode() + rb"(;|\Z)", cookie, re.DOTALL) is not None


@settings(max_examples=examples(500), deadline=None)
@given(before=bytes_of(PIECES), after=bytes_of(PIECES))
def test_an_id_between_semicolons_is_found_whatever_stands_around_it(before: bytes, after: bytes) -> None:
    header = b"%b; ko_id=%b; %b" % (before, ID.encode(), after)

    found = read_profile_id(header.decode("latin-1"))

    assert found is not None
    assert found.lower() == ID or found in before.decode("latin-1")


KILOBYTES = 64 * 1024
LONG: dict[str, tuple[bytes, bytes]] = {
    "quoted backslashes": (b'a="' + b'\\"' * (KILOBYTES // 2), b"www.example.com"),
    "semicolons": (b";" * KILOBYTES, b"www.example.com"),
    "semicolons and blanks": (b"; " * (KILOBYTES // 2), b"www.example.com"),
    "blanks": (b";" + b" " * KILOBYTES + b"x", b"www.example.com"),
    "tabs behind a name": (b"ko_id" + b"\t" * KILOBYTES, b"www.example.com"),
    "names without values": (b"ko_id;" * (KILOBYTES // 6), b"www.example.com"),
    "equals signs": (b"ko_id=" * (KILOBYTES // 6), b"www.example.com"),
    "quotes": (b'ko_id="' * (KILOBYTES // 7), b"www.example.com"),
    "ids that are nobody's": (
        b"ko_id=00000000-0000-0000-0000-000000000000;" * (KILOBYTES // 43),
        b"www.example.com",
    ),
    "ids of one digit too many": (b"ko_id=%b0," % ID.encode() * (KILOBYTES // 44), b"www.example.com"),
    "any bytes": (bytes(range(256)) * (KILOBYTES // 256), b"www.example.com"),
    "a host of dots": (b"a=1", b"." * KILOBYTES),
    "a host of labels": (b"a=1", b"a." * (KILOBYTES // 2)),
    "a host of one label": (b"a=1", b"a" * KILOBYTES),
    "a host of a port": (b"a=1", b"example.com:" + b"9" * KILOBYTES),
    "a host of brackets": (b"a=1", b"[" * KILOBYTES),
}


@pytest.mark.parametrize(("cookie", "host"), LONG.values(), ids=LONG.keys())
def test_64_kilobytes_cost_less_than_50_milliseconds(site: Site, cookie: bytes, host: bytes) -> None:
    """Of CPU time, not by the clock, for the whole exchange. Some 3 ms are used; quadratic costs seconds."""
    site.handler = lambda _: OWN
    site.get()  # first use builds what is built once

    before = time.process_time()
    answer = site.raw("GET", "/", [(b"cookie", cookie), (b"host", host)])
    used = time.process_time() - before

    assert sound(answer)
    assert len(answer.set_cookies) == 1
    assert used < 0.050


def test_hosts_from_anywhere_are_remembered_only_in_a_bounded_number_and_length(site: Site) -> None:
    import koala_middleware.hosts as domain  # noqa: PLC0415  (its cache is its own matter)

    for number in range(2000):
        site.raw("GET", "/", [(b"host", f"h{number}.example.com".encode())])
        site.raw("GET", "/", [(b"host", f"{number}".encode() * 1000)])

    info: Any = domain._registrable.cache_info()
    assert info.currsize <= info.maxsize <= 1024
