"""The paths of the endpoint, below its base URL.

Must not know hosts or HTTP.
"""

from __future__ import annotations

from urllib.parse import quote


def bootstrap_path(public_api_key: str) -> str:
    """Where the endpoint tells what it supports."""
    return f"/web/projects/{quote(public_api_key, safe='')}"


def person_path(public_api_key: str) -> str:
    """Takes one person's batch."""
    return f"{bootstrap_path(public_api_key)}/batch"


def account_path(public_api_key: str) -> str:
    """Takes one account's batch."""
    return f"{bootstrap_path(public_api_key)}/accounts/batch"


def bulk_path(public_api_key: str) -> str:
    """Takes many batches, one per line."""
    return f"{bootstrap_path(public_api_key)}/bulk"


def profiles_path(public_api_key: str) -> str:
    """Answers what the endpoint knows about one visitor."""
    return f"{bootstrap_path(public_api_key)}/profiles"


def script_path(public_api_key: str) -> str:
    """Serves the browser script."""
    return f"/v1/{quote(public_api_key, safe='')}/sdk.js"
