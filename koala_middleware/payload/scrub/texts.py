"""Masks secrets within texts: tokens, keys, passwords in URLs, secret `name=value` pairs.

Every pattern takes linear time: a run of characters is entered only at its start, and no repetition can match in two
ways. A pattern that runs to a distant end (a quote, the last @) does not start again before it.
"""

from __future__ import annotations

import re

from koala_middleware.payload.scrub.cards import mask_card_numbers
from koala_middleware.payload.scrub.names import masking_for
from koala_middleware.payload.values.cleaner import MASK

_SHORTEST_SECRET = 12  # characters, of those without "=", ":" or "%": a JWT; but a pair can be "pwd=x"

# A quick test that most texts fail. It looks for the rarest part of each kind of secret. Each branch starts with a
# literal character, so that the search can skip. Hyphens are common, so it asks for more after sk, rk, glpat and pypi.
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
# Passwords in URLs are often not quoted and hold @ or /, so the last @ ends one.
_URL_PASSWORD = re.compile(
    r"""
    (?<=://) (?!\[) [^\s/:?#"]*+ :  # a user, perhaps as an email address; no IPv6 address, nothing masked
    (?! [0-9]{1,5} [/?#] )          # no port
    (?: (?: [^\s":@]++ | :(?!//) )*+ @ )++
    """,
    re.VERBOSE,
)
# `name=` in a query, a form or a cookie (also in a quoted query), or `"name": ` in JSON, with the value's opening
# quote.
_NAME_OF_VALUE = re.compile(
    r"""
    (?: %[0-9A-Fa-f]{2} | (?<![A-Za-z0-9_.-]) ) ([A-Za-z_][A-Za-z0-9_.-]*+)
    (?: = | %3[Dd] | ["']\ ?:\ ? ) ["']?
    """,
    re.VERBOSE,
)
# Up to the closing quote, or to the end of a text that was cut before it.
_VALUE = re.compile(
    r"""
      (?<=") (?: [^"\\]++ | (?s:\\.?) )++
    | (?<=') (?: [^'\\]++ | (?s:\\.?) )++
    | [^\s&;,"'<>#]++
    """,
    re.VERBOSE,
)
_BEFORE_PARAMETERS = ("?", "&", "%3F", "%3f", "%26")


def mask_secrets(text: str) -> str:
    """The text with its secrets masked; most often the text itself."""
    if len(text) < _SHORTEST_SECRET:
        return mask_thoroughly(text) if "=" in text or ":" in text or "%" in text else text
    return text if _MAY_HOLD_SECRET.search(text) is None else mask_thoroughly(text)


def mask_thoroughly(text: str) -> str:
    """The same without the quick test."""
    text = _URL_PASSWORD.sub(f"{MASK}@", _TOKEN.sub(MASK, text))
    return mask_card_numbers(_mask_secret_pairs(text), MASK)


def _mask_secret_pairs(text: str) -> str:
    kept: list[str] = []
    end = 0
    for name in _NAME_OF_VALUE.finditer(text):
        if name.start() < end or _ends_url(name) or masking_for(name[1]) is None:
            continue
        value = _VALUE.match(text, name.end())
        if value is not None:
            kept += text[end : name.end()], MASK
            end = value.end()
    return "".join([*kept, text[end:]])


def _ends_url(name: re.Match[str]) -> bool:
    """A quote right after `?token=` closes the URL; it does not open a value."""
    return name[0].endswith(('"', "'")) and name.string.endswith(_BEFORE_PARAMETERS, 0, name.start(1))
