from __future__ import annotations

from support.endpoint import json_endpoint

__all__ = ["json_endpoint"]
