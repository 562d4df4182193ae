"""All cookies of a request by name. Must not know which of them is ours: `identity.cookie` reads it."""

from __future__ import annotations


def read_cookies(header: str) -> dict[str, str]:
    """The cookies of a Cookie header by name, as sent (not percent-decoded). The first of a name wins.

    Never raises: anything but `name=value` is left out.
    """
    cookies: dict[str, str] = {}
    for pair in header.split(";"):
        name, separator, value = pair.partition("=")
        if separator:
            cookies.setdefault(name.strip(), value.strip())
    return cookies
