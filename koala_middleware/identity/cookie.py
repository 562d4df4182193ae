"""The ko_id cookie: reading it from a request, minting an id, and writing the Set-Cookie header.

Must not know settings or frameworks. Parses the Cookie header itself, since every framework's parser gets this
cookie wrong somewhere: some raise on another cookie's bytes, some take the last of several, some are quadratic.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

COOKIE_NAME = "ko_id"
ONE_YEAR = 365 * 24 * 60 * 60  # seconds; browsers cap at 400 days

_HEX = "[0-9a-fA-F]"
_ID = rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
# The nil and max UUIDs count as malformed.
_RESERVED_IDS = frozenset({"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"})
_SPACES = "[ \t]*"


def _pattern(separators: str) -> re.Pattern[str]:
    return re.compile(
        rf'(?:^|[{separators}]){_SPACES}{COOKIE_NAME}{_SPACES}={_SPACES}("?)((?!(?i:{"|".join(_RESERVED_IDS)})){_ID})\1{_SPACES}(?=[{separators}]|\Z)'
    )


_IN_COOKIE_HEADER = _pattern(";")
# gunicorn and others join several Cookie fields with a comma instead of a semicolon.
_IN_JOINED_HEADERS = _pattern(";,")
# As nearly every browser sends it. Ids that may be reserved are left to the patterns above.
_match_plain = re.compile(rf"(?:^|(?<=; )){COOKIE_NAME}=(?![0fF-]{{36}})({_ID})(?:;|\Z)").match


def read_profile_id(header: str) -> str | None:
    """The visitor's id from a Cookie header, or None when it holds none that is well-formed.

    The first well-formed one wins, since an old broken or path-bound cookie may precede ours forever. Any UUID
    version in any case is kept as sent, because the pixel sends the same text.

    Args:
        header: The raw value, `"a=1; ko_id=3e6a2c18-…; b=2"`; several fields joined by `;` or `,`.
    Never raises; takes time linear in the header's length.
    Source: RFC 6265 section 5.4 for the order; browsers and servers as tested.
    """
    at = header.find(COOKIE_NAME)
    if at < 0:
        return None
    # Saves 2 µs, half of an exchange without calls: the searches below try each position.
    plain = _match_plain(header, at)
    if plain is not None:
        return plain[1]
    found = _IN_COOKIE_HEADER.search(header) or _IN_JOINED_HEADERS.search(header)
    return found[2] if found is not None else None


def mint_profile_id() -> str:
    """A new visitor's id: a random UUID v4, 36 characters, as the browser pixel makes them."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class ProfileCookie:
    """A ko_id cookie to set. An empty value with `max_age` 0 deletes it.

    Attributes:
        domain: The registrable domain, so that every subdomain gets it; None for a host-only cookie.
        max_age: Seconds.
    Never HttpOnly: the pixel reads and writes it.
    """

    value: str
    domain: str | None
    secure: bool = False
    max_age: int = ONE_YEAR

    def header(self) -> str:
        """The value of a Set-Cookie header."""
        # Loaded by preload(), when the middleware is made: importing the package loads no framework.
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
            sync_expires=False,  # browsers prefer Max-Age
        )


def deleted_cookie(domain: str | None) -> ProfileCookie:
    """Deletes the cookie that was set with this domain."""
    return ProfileCookie("", domain, max_age=0)


def preload() -> None:
    """Import what writing a cookie needs, so that no visitor's response waits for it."""
    ProfileCookie(mint_profile_id(), "example.com").header()
