"""How many examples a long search by hypothesis tries: all of them, or a tenth in `make quick`."""

from __future__ import annotations

import os

QUICK = os.environ.get("QUICK") == "1"


def examples(number: int) -> int:
    return max(number // 10, 1) if QUICK else number
