"""Whether a request's body names somebody, however JSON spells the name: escaped, or in other letter case.

Searches text, not JSON: a refused body may not be JSON, and of a long body only the beginning is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

_ESCAPES = re.compile(r"((?:\\u[0-9a-fA-F]{4})++)|\\(.)", re.DOTALL)
_OF_ASCII = re.compile(r"\\(?:u00([2-7][0-9a-fA-F])|/)")


def mentions(names: Collection[str]) -> Callable[[str], bool]:
    """Returns a function that says whether a body holds one of the names, ignoring case."""
    folded = [name.casefold() for name in names]
    # When all names are ASCII, as nearly always, escapes of other characters need not be decoded. Each costs a
    # microsecond or two, and all kept bodies are searched while senders wait.
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
    r"""`\u0061\u00eb` as text: together, since one character may be two escapes."""
    return bytes.fromhex(escapes.replace(r"\u", "")).decode("utf-16-be", "replace")
