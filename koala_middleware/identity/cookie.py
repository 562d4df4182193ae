"""The ko_id cookie: reading it from a request, minting an id, and the cookie that goes back.

Knows no settings and no framework. Reading is our own, since every framework's parser fails at this one
cookie somewhere: some raise on a neighbour's bytes, some take the last of several, some are quadratic.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

COOKIE_NAME = "ko_id"
ONE_YEAR = 365 * 24 * 60 * 60  # seconds; browsers cap at 400 days

_HEX = "[0-9a-fA-F]"
_ID = rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
# Nil and max, which count as malformed.
_NOBODY = frozenset({"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"})
_BLANKS = "[ \t]*"


def _pattern(separators: str) -> re.Pattern[str]:
    return re.compile(
        rf'(?:^|[{separators}]){_BLANKS}{COOKIE_NAME}{_BLANKS}={_BLANKS}("?)((?!(?i:{"|".join(_NOBODY)})){_ID})\1{_BLANKS}(?=[{separators}]|\Z)'
    )


_IN_COOKIE_HEADER = _pattern(";")
# gunicorn and others join several Cookie fields with a comma instead of a semicolon.
_IN_JOINED_HEADERS = _pattern(";,")
# As nearly every browser sends it. What might be nobody's id is left to the patterns above.
_PLAIN = re.compile(rf"(?:^|(?<=; )){COOKIE_NAME}=(?![0fF-]{{36}})({_ID})(?:;|\Z)")


def read_profile_id(header: str) -> str | None:
    """The visitor's id from a Cookie header, or None when it holds none that is well-formed.

    The first well-formed one wins: an old broken or path-bound cookie stays in front of ours for ever. Any
    UUID version in any case is kept as sent, since the pixel will send the very same text.

    Args:
        header: The raw value, `"a=1; ko_id=3e6a2c18-…; b=2"`; several fields joined by `;` or `,`.
    Never raises; takes time linear in the header's length.
    Source: RFC 6265 section 5.4 for the order; browsers and servers as measured.
    """
    at = header.find(COOKIE_NAME)
    if at < 0:
        return None
    # Worth 2 µs, half of an exchange that says nothing: the searches below try each place.
    plain = _PLAIN.match(header, at)
    if plain is not None:
        return plain[1]
    found = _IN_COOKIE_HEADER.search(header) or _IN_JOINED_HEADERS.search(header)
    return found[2] if found is not None else None


def mint_profile_id() -> str:
    """A new visitor's id: a random UUID v4, 36 characters, as the browser pixel makes them."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class ProfileCookie:
    """A ko_id cookie to set; an empty value with `max_age` 0 deletes it.

    Attributes:
        domain: The registrable domain, so that every subdomain sees it; None for a host-only cookie.
        max_age: Seconds.
    Never HttpOnly: the pixel reads it, and its own write would be refused.
    """

    value: str
    domain: str | None
    secure: bool = False
    max_age: int = ONE_YEAR

    def header(self) -> str:
        """The value of a Set-Cookie header."""
        # Imported when the middleware is set up (see prepare), not by those who only import the package.
        from werkzeug.http import dump_cookie  # noqa: PLC0415

        return dump_cookie(
            COOKIE_NAME,
            self.value,
            max_age=self.max_age,
            domain=self.domain,
            path="/",
            secure=self.secure,
            httponly=False,
            samesite="Lax",
            sync_expires=False,  # every browser takes Max-Age, which wins over Expires
        )


def deleted(domain: str | None) -> ProfileCookie:
    return ProfileCookie("", domain, max_age=0)


def prepare() -> None:
    """Load now what writing a cookie needs, so that no visitor's response waits for an import."""
    ProfileCookie(mint_profile_id(), "example.com").header()
