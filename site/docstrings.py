"""Adapts our docstrings to the API reference: griffe wants an empty line between sections, and we write none."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"\n(?=(?:Args|Attributes|Raises|Returns|Source|Yields):\n?)")


class SeparateSections(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _SECTION.sub("\n\n", obj.docstring.value)
