"""Whether a request's body names somebody, however JSON spells the name: escaped, or in capital letters.

Works on the text, not on what it means: a body that was refused may be no JSON, and of a long one only the beginning
is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)


def mentions(names: Collection[str]) -> Callable[[str], bool]:
    """Tells whether one of the names stands in a body, capital and small letters being the same."""
    folded = [name.casefold() for name in names]

    def in_body(body: str) -> bool:
        text = _unescaped(body).casefold()
        return any(name in text for name in folded)

    return in_body


def _unescaped(body: str) -> str:
    if "\\" not in body:
        return body
    halves = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else escape[2], body)
    return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # a pair is one character
