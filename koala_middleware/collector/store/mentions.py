"""Whether a request's body names somebody, however JSON spells the name: escaped, or in capital letters.

Works on the text, not on what it means: a body that was refused may be no JSON, and of a long one only the beginning
is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

_ESCAPES = re.compile(r"((?:\\u[0-9a-fA-F]{4})++)|\\(.)", re.DOTALL)
_OF_ASCII = re.compile(r"\\(?:u00([2-7][0-9a-fA-F])|/)")


def mentions(names: Collection[str]) -> Callable[[str], bool]:
    """Tells whether one of the names stands in a body, capital and small letters being the same."""
    folded = [name.casefold() for name in names]
    # Where names are ASCII, as nearly all, the many other escapes of a text in another language are none of them: each
    # costs a microsecond or two, and all kept bodies are gone through while senders wait.
    unescaped = _with_ascii_unescaped if all(map(str.isascii, names)) else _unescaped

    def in_body(body: str) -> bool:
        text = (unescaped(body) if "\\" in body else body).casefold()
        return any(name in text for name in folded)

    return in_body


def _with_ascii_unescaped(body: str) -> str:
    return _OF_ASCII.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else "/", body)


def _unescaped(body: str) -> str:
    return _ESCAPES.sub(lambda escapes: _characters(escapes[1]) if escapes[1] else escapes[2], body)


def _characters(escapes: str) -> str:
    r"""`\u0061\u00eb` as text: many at once, since a character of its own may be two."""
    return bytes.fromhex(escapes.replace(r"\u", "")).decode("utf-16-be", "replace")
