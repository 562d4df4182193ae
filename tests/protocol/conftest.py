from __future__ import annotations

from support.schemas import accounts_batch_schema, batch_schema

__all__ = ["accounts_batch_schema", "batch_schema"]
