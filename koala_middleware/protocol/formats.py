"""What ids, emails and domains look like, for both sides.

Must not know whether they belong to anybody.
"""

from __future__ import annotations

import re
from hashlib import sha256

from koala_middleware.protocol.limits import MAX_EMAIL, MAX_NAME_BYTES, MAX_TEXT

# Enough to tell an address from "undefined" or a name. Whether it receives mail does not matter.
_EMAIL = re.compile(r"[^@\s\x00-\x1f<>\"]{1,64}@[^@\s\x00-\x1f<>\"]{1,190}")
_DOMAIN = re.compile(r"(?=.{1,253}$)\w(?:[\w-]{0,61}\w)?(?:\.\w(?:[\w-]{0,61}\w)?)+")
# What broken front ends send for "nothing". Taken literally, each would turn strangers into one visitor.
_PLACEHOLDERS = frozenset({"null", "undefined", "none", "nan", "[object object]", "0", "false", "true"})
_NIL = "00000000-0000-0000-0000-000000000000"


def is_email(text: str) -> bool:
    """Whether a text without surrounding whitespace is an email address."""
    return len(text) <= MAX_EMAIL and _EMAIL.fullmatch(text) is not None


def normal_domain(text: str) -> str | None:
    """`"https://www.Example.com/pricing"` gives `"example.com"`; None when it holds no domain."""
    host = text.strip().lower().removeprefix("https://").removeprefix("http://").partition("/")[0]
    domain = host.partition(":")[0].removeprefix("www.").rstrip(".")
    return domain if _DOMAIN.fullmatch(domain) else None


def is_placeholder(profile_id: str) -> bool:
    """Whether the id stands for "nothing", such as `"undefined"`."""
    return profile_id.lower() in _PLACEHOLDERS or profile_id == _NIL


def is_profile_id(text: str) -> bool:
    """Whether a text without surrounding whitespace can be a visitor's id."""
    return 0 < len(text) <= MAX_TEXT and text.isprintable() and not is_placeholder(text)


def short_id(text: str) -> str:
    """The id itself, or its SHA-256 if it is too long or holds NUL. Different ids stay different."""
    fits = len(text) <= MAX_TEXT and "\0" not in text
    return text if fits else sha256(text.encode(errors="surrogatepass")).hexdigest()


def short_group_id(text: str) -> str:
    """The same for a group id, which may have `MAX_NAME_BYTES`."""
    encoded = text.encode(errors="surrogatepass")
    return text if len(encoded) <= MAX_NAME_BYTES else sha256(encoded).hexdigest()
