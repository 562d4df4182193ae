"""Secrets within texts, by what they look like: tokens, keys, passwords in URLs, secret `name=value` pairs.

Every pattern takes time linear in the text: a run of characters is entered at its beginning only, and nothing
that repeats can be divided in two ways. What runs to a far end (a quote, the last @) is not begun again before it.
"""

from __future__ import annotations

import re

from koala_middleware.payload.scrub.cards import without_cards
from koala_middleware.payload.scrub.names import verdict_on
from koala_middleware.payload.values import MASK

_SHORTEST_SECRET = 12  # characters, of those without "=", ":" or "%": a JWT; but a pair can be "pwd=x"

# Most texts hold no secret, and are told by this one search. It looks for what is rarest in each kind of
# secret, and each branch begins with one plain character, so that it skips from one to the next. Hyphens are
# common: of those behind sk, rk, glpat and pypi it wants more, and the letter before tells most others apart.
_MAY_HOLD_SECRET = re.compile(
    r"""_[A-Za-z0-9_-]{16}|-(?<=[itk]-)(?<=(?:[rs]k|at|pi)-)[A-Za-z0-9_-]{16}|-----B|"""
    r"""xox|SG[.]|y(?:J|a29)|A(?:KIA|SIA|Iza)|B(?:earer|EARER|asic|ASIC)|b(?:earer|asic)|=|@|%3D|%3d|" ?:|' ?:|"""
    r"""4[0-9 -]{11}|5[0-9 -]{11}|3[0-9 -]{11}|6[0-9 -]{11}|2[0-9 -]{11}|8[0-9 -]{11}"""
)
_TOKEN = re.compile(
    r"""
      \b (?:Bearer|bearer|BEARER) [\s:]++
      (?: (?=[A-Za-z_.~+/=-]*+[0-9]) [\w.~+/=-]{6,}+ | [\w.~+/=-]{20,}+ )
    | \b (?:Basic|basic|BASIC) \s++ (?=[A-Za-z+/]*+[0-9=]) [A-Za-z0-9+/]{12,}+ ={0,2}
    | -----BEGIN\ [A-Z ]{0,40}PRIVATE\ KEY-----
      (?s: .*? (?: -----END\ [A-Z ]{0,40}PRIVATE\ KEY----- | \Z ) )
    | (?<![A-Za-z0-9_-]) (?:
          eyJ[A-Za-z0-9_-]{8,}+ (?: \.[A-Za-z0-9_-]*+ ){1,4}
        | (?: AKIA | ASIA ) [A-Z0-9]{16}
        | AIza [A-Za-z0-9_-]{30,}+
        | ya29\. [A-Za-z0-9_-]{16,}+
        | gh[a-z]_ [A-Za-z0-9]{16,}+
        | github_pat_ [A-Za-z0-9_]{16,}+
        | xox[a-z]- [A-Za-z0-9-]{10,}+
        | [sr]k[_-] (?=[A-Za-z_-]*+[0-9]) [A-Za-z0-9_-]{16,}+
        | (?: glpat- | npm_ | pypi- | hf_ ) [A-Za-z0-9_-]{16,}+
        | SG\. [A-Za-z0-9_-]{16,}+ \. [A-Za-z0-9_-]{16,}+
      )
    """,
    re.VERBOSE,
)
# Passwords are written into URLs as they are: with @ and /, so the last @ of the run ends one.
_URL_PASSWORD = re.compile(
    r"""
    (?<=://) (?!\[) [^\s/:?#"]*+ :  # a user, perhaps as an email address; no IPv6 address, nothing masked
    (?! [0-9]{1,5} [/?#] )          # no port
    (?: (?: [^\s":@]++ | :(?!//) )*+ @ )++
    """,
    re.VERBOSE,
)
# `name=` in a URL's query, a form or a cookie, in a query inside a query too, and `"name": ` in JSON; with the
# quote that opens the value.
_NAME_OF_VALUE = re.compile(
    r"""
    (?: %[0-9A-Fa-f]{2} | (?<![A-Za-z0-9_.-]) ) ([A-Za-z_][A-Za-z0-9_.-]*+)
    (?: = | %3[Dd] | ["']\ ?:\ ? ) ["']?
    """,
    re.VERBOSE,
)
# To the quote that closes it; where there is none the text was cut, and all that is left of it.
_VALUE = re.compile(
    r"""
      (?<=") (?: [^"\\]++ | (?s:\\.?) )++
    | (?<=') (?: [^'\\]++ | (?s:\\.?) )++
    | [^\s&;,"'<>#]++
    """,
    re.VERBOSE,
)
_BEFORE_PARAMETERS = ("?", "&", "%3F", "%3f", "%26")


def masked(text: str) -> str:
    """The text without its secrets; most often the text itself."""
    if len(text) < _SHORTEST_SECRET:
        return without_secrets(text) if "=" in text or ":" in text or "%" in text else text
    return text if _MAY_HOLD_SECRET.search(text) is None else without_secrets(text)


def without_secrets(text: str) -> str:
    """The same, however long it takes to look."""
    text = _URL_PASSWORD.sub(f"{MASK}@", _TOKEN.sub(MASK, text))
    return without_cards(_without_secret_pairs(text), MASK)


def _without_secret_pairs(text: str) -> str:
    kept: list[str] = []
    end = 0
    for name in _NAME_OF_VALUE.finditer(text):
        if name.start() < end or _ends_url(name) or verdict_on(name[1]) is None:
            continue
        value = _VALUE.match(text, name.end())
        if value is not None:
            kept += text[end : name.end()], MASK
            end = value.end()
    return "".join([*kept, text[end:]])


def _ends_url(name: re.Match[str]) -> bool:
    """Behind `?token=` a quote opens no value: it closes the URL."""
    return name[0].endswith(('"', "'")) and name.string.endswith(_BEFORE_PARAMETERS, 0, name.start(1))
