"""What several rooms ask for."""

from __future__ import annotations

from support.chromium import chromium  # noqa: F401  (a fixture)
