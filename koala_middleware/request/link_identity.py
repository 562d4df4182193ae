"""Identity in a link: the parameters that mailing tools put into a newsletter's links.

`ko_e` and `utm_id` hold an email, `ko_trait_plan` the trait `plan`, as the browser SDK reads them. Anybody can
write such a link, so the result is a claim. Nothing here raises.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_plus

_EMAIL_NAMES = ("ko_e", "utm_id")
_TRAIT_PREFIX = "ko_trait_"
_TRAIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
# Stricter than for typed emails: a link yields nothing doubtful.
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,63}")
_LONGEST_EMAIL = 254
_LONGEST_ENCODED = 344  # the longest email in base64
_LONGEST_QUERY = 4_096
_LONGEST_TRAIT = 256
_MOST_TRAITS = 20


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """A link's claim about its visitor. `email` is None if there are only traits."""

    email: str | None
    traits: dict[str, str]


def identity_from_link(query: str) -> LinkIdentity | None:
    """The email and the traits in a query string (still quoted); None if it holds neither."""
    if "ko_" not in query and "utm_id" not in query:
        return None
    given = dict(parse_qsl(query[:_LONGEST_QUERY], errors="replace"))
    emails = (_email(given.get(name, "")) for name in _EMAIL_NAMES)
    email = next(filter(None, emails), None)
    traits = dict(list(_traits(given).items())[:_MOST_TRAITS])
    return LinkIdentity(email, traits) if email or traits else None


def without_identity(query: str) -> str:
    """The query string without the parameters that identify the visitor."""
    return "&".join(pair for pair in query.split("&") if not _identifies(pair.partition("=")[0]))


def _identifies(name: str) -> bool:
    name = unquote_plus(name, errors="replace")
    return name in _EMAIL_NAMES or name.startswith(_TRAIT_PREFIX)


def _email(value: str) -> str | None:
    """A parameter's email, in base64 or plain."""
    email = value if "@" in value else _decoded(value)
    return email if len(email) <= _LONGEST_EMAIL and _EMAIL.fullmatch(email) else None


def _decoded(value: str) -> str:
    """Decodes base64 of either alphabet, with or without padding. A `+` may have arrived as a space."""
    if len(value) > _LONGEST_ENCODED:
        return ""
    encoded = value.replace(" ", "+").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("ascii").strip()
    except (Base64Error, ValueError):
        return ""


def _traits(given: dict[str, str]) -> dict[str, str]:
    """The traits except `email`, which has parameters of its own."""
    named = (
        (name.removeprefix(_TRAIT_PREFIX), value)
        for name, value in given.items()
        if name.startswith(_TRAIT_PREFIX)
    )
    return {
        name: "".join(filter(str.isprintable, value[:_LONGEST_TRAIT]))
        for name, value in named
        if _TRAIT_NAME.fullmatch(name) and name.lower() != "email"
    }
