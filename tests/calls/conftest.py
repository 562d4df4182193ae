from __future__ import annotations

from support.json_endpoint import endpoint

__all__ = ["endpoint"]
