"""Property names: valid, bounded, and cached, since an app uses few."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Literal

from koala_middleware.payload.values.truncation import truncate_text, valid_unicode

_LONGEST_NAME = 256  # bytes
_CACHED_NAMES = 4_096
_LONGEST_CACHED_NAME = 64

# What the name says about its value. None: nothing; the value is scanned like any other.
Masking = Literal["mask", "mask unless number"] | None


class PropertyNames(dict[str, tuple[str, Masking, str]]):
    """A cache from property names to (clean name, masking, `"name":` as JSON).

    The JSON is empty if the name was changed or its value is masked.
    """

    def __missing__(self, name: str) -> tuple[str, Masking, str]:
        clean = self.clean(name)
        masking = self.masking(clean)
        if clean != name or len(name) > _LONGEST_CACHED_NAME:
            return clean, masking, ""
        if len(self) >= _CACHED_NAMES:
            self.clear()
        self[name] = known = (clean, masking, "" if masking else f"{encode_basestring(name)}:")
        return known

    def clean(self, name: str) -> str:
        return truncate_text(valid_unicode(name[:_LONGEST_NAME]), _LONGEST_NAME)

    def masking(self, name: str) -> Masking:  # noqa: ARG002  (only scrubbing masks)
        return None
