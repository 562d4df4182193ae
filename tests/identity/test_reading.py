"""Reads the id from a Cookie header."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from koala_middleware import KoalaContext
from koala_middleware.identity.cookie import mint_profile_id, read_profile_id
from koala_middleware.request.all_cookies import read_cookies

if TYPE_CHECKING:
    from identity.conftest import Site

ID = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
OTHER = "11111111-2222-4333-8444-555555555555"
NIL = "00000000-0000-0000-0000-000000000000"
MAX = "ffffffff-ffff-ffff-ffff-ffffffffffff"

READ = {
    "alone": (f"ko_id={ID}", ID),
    "first of many": (f"ko_id={ID}; a=1; b=2", ID),
    "in the middle": (f"a=1; ko_id={ID}; b=2", ID),
    "last": (f"a=1; ko_id={ID}", ID),
    "without a blank after the semicolon": (f"a=1;ko_id={ID};b=2", ID),
    "with blanks around everything": (f"a=1 ; \tko_id = {ID} ; b=2", ID),
    "in quotes": (f'ko_id="{ID}"', ID),
    "in quotes with blanks around": (f'ko_id= "{ID}" ; a=1', ID),
    "in upper case, kept": (f"ko_id={ID.upper()}", ID.upper()),
    "in mixed case, kept": (
        "ko_id=3E6a2c18-3b02-40C4-b8d2-1842c193d3bA",
        "3E6a2c18-3b02-40C4-b8d2-1842c193d3bA",
    ),
    "version 1": ("ko_id=c232ab00-9414-11ec-b3c8-9f6bdeced846", "c232ab00-9414-11ec-b3c8-9f6bdeced846"),
    "version 7": ("ko_id=017f22e2-79b0-7cc3-98c4-dc0c0c07398f", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"),
    "no version at all": (
        "ko_id=aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
        "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
    ),
    "the first of two": (f"ko_id={ID}; ko_id={OTHER}", ID),
    "the second, where the first is broken": (f"ko_id=broken; ko_id={ID}", ID),
    "the second, where the first is empty": (f"ko_id=; ko_id={ID}", ID),
    "the second, where the first is nil": (f"ko_id={NIL}; ko_id={ID}", ID),
    "the second, where the first is max": (f"ko_id={MAX.upper()}; ko_id={ID}", ID),
    "the first, where the second is broken": (f"ko_id={ID}; ko_id=broken", ID),
    "behind a lone quote in a neighbour": (f'a="b; ko_id={ID}', ID),
    "behind a neighbour without a name": (f"=x; ; novalue; ko_id={ID}", ID),
    "behind JSON in a neighbour": (f'a={{"b": [1, 2]}}; ko_id={ID}', ID),
    "behind bytes that are no UTF-8": (f"a=\xff\xfe\x80; ko_id={ID}", ID),
    "behind a NUL": (f"a=\x00; ko_id={ID}", ID),
    "behind a newline in a neighbour": (f"a=1\r\nx; ko_id={ID}", ID),
    "two fields joined by a comma": (f"a=1,ko_id={ID}", ID),
    "two fields joined by a comma and a blank": (f"a=1; b=2, ko_id={ID}, c=3", ID),
    "by semicolon rather than by comma": (f"a=1, ko_id={OTHER}; ko_id={ID}", ID),
    "nothing": ("", None),
    "other cookies only": ("a=1; b=2", None),
    "nil": (f"ko_id={NIL}", None),
    "max": (f"ko_id={MAX}", None),
    "another name in front": (f"my_ko_id={ID}", None),
    "another name behind": (f"ko_id2={ID}", None),
    "another case of the name": (f"KO_ID={ID}", None),
    "a name within a value": (f"a=ko_id={ID}", None),
    "one quote in front": (f'ko_id="{ID}', None),
    "one quote behind": (f'ko_id={ID}"', None),
    "two pairs of quotes": (f'ko_id=""{ID}""', None),
    "single quotes": (f"ko_id='{ID}'", None),
    "braces": (f"ko_id={{{ID}}}", None),
    "a URN": (f"ko_id=urn:uuid:{ID}", None),
    "no hyphens": (f"ko_id={ID.replace('-', '')}", None),
    "hyphens elsewhere": ("ko_id=3e6a2c183b02-40c4-b8d2-1842-c193d3ba", None),
    "one digit too many": (f"ko_id={ID}0", None),
    "one digit too few": (f"ko_id={ID[:-1]}", None),
    "a digit that is none": (f"ko_id=g{ID[1:]}", None),
    "an underscore for a digit": (f"ko_id=3e6a2c_8{ID[8:]}", None),
    "a newline behind": (f"ko_id={ID}\n", None),
    "text behind": (f"ko_id={ID} and more", None),
    "percent-encoded": (f"ko_id={ID.replace('-', '%2D')}", None),
    "full-width digits": (f"ko_id=\uff13{ID[1:]}", None),
}


@pytest.mark.parametrize(("header", "expected"), READ.values(), ids=READ.keys())
def test_read(header: str, expected: str | None) -> None:
    assert read_profile_id(header) == expected


def test_an_id_that_came_is_used_and_not_set_again(site: Site) -> None:
    seen: list[tuple[str | None, bool]] = []
    site.handler = lambda koala: seen.append((koala.profile_id, koala.is_new))

    answer = site.get(cookie=f"a=1; ko_id={ID.upper()}")

    assert seen == [(ID.upper(), False)]
    assert answer.set_cookies == []
    assert answer.values("cache-control") == ["private"]


def test_a_response_for_which_the_handler_did_not_read_the_id_is_left_as_it_is(site: Site) -> None:
    site.handler = lambda koala: koala.track("Seen")

    assert site.get(cookie=f"ko_id={ID}").values("cache-control") == []


def test_an_id_read_for_a_response_that_shared_caches_may_store_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def cached(koala: KoalaContext) -> list[tuple[str, str]]:
        assert koala.profile_id == ID
        return [("Cache-Control", "public, max-age=60")]

    site.handler = cached
    answer = site.get(cookie=f"ko_id={ID}")

    assert answer.values("cache-control") == ["public, max-age=60"]
    assert "profile_id was read for a response that a shared cache may store" in caplog.text


@pytest.mark.parametrize("order", [1, -1], ids=["ours first", "ours last"])
def test_several_cookie_fields_count_as_one(site: Site, order: int) -> None:
    seen: list[str | None] = []
    site.handler = lambda koala: seen.append(koala.profile_id)
    fields = [(b"cookie", f"ko_id={ID}".encode()), (b"cookie", b"theme=dark; b=2"), (b"cookie", b"c=3")]

    site.raw("GET", "/", [(b"host", b"www.example.com"), *fields[::order]])

    assert seen == [ID]


def test_a_minted_id_is_a_random_uuid_of_version_4() -> None:
    minted = {mint_profile_id() for _ in range(100)}

    assert len(minted) == 100
    for value in minted:
        assert uuid.UUID(value).version == 4
        assert str(uuid.UUID(value)) == value
        assert read_profile_id(f"ko_id={value}") == value


def test_a_consent_function_finds_every_cookie_as_it_was_sent() -> None:
    header = 'consent=yes; theme="dark"; consent=no; broken; =x; json={"a": 1}; b=%20=c\xff'

    assert read_cookies(header) == {
        "consent": "yes",
        "theme": '"dark"',
        "": "x",
        "json": '{"a": 1}',
        "b": "%20=c\xff",
    }
