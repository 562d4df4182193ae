"""The paths of the endpoint, below its base URL. Must not know hosts or HTTP."""

from __future__ import annotations

from urllib.parse import quote


def bootstrap_path(public_api_key: str) -> str:
    """The path where the endpoint says what it offers."""
    return f"/web/projects/{quote(public_api_key, safe='')}"


def person_path(public_api_key: str) -> str:
    """The path that takes one person's batch."""
    return f"{bootstrap_path(public_api_key)}/batch"


def account_path(public_api_key: str) -> str:
    """The path that takes one company's batch."""
    return f"{bootstrap_path(public_api_key)}/accounts/batch"


def bulk_path(public_api_key: str) -> str:
    """The path that takes many people's batches, one a line."""
    return f"{bootstrap_path(public_api_key)}/bulk"
