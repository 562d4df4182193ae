"""Reads from the environment which proxy and which CA bundle to use, as `requests` does.

Must not know how a connection is made.
"""

from __future__ import annotations

from typing import NamedTuple

import requests


class Environment(NamedTuple):
    """Attributes:
    request: Its URL is the endpoint's, encoded as it is sent.
    proxies: By scheme, for `requests.utils.select_proxy`; empty where NO_PROXY excludes the endpoint.
    ca_bundle: A file or directory of certificates; None for the bundle that `requests` brings.
    """

    request: requests.PreparedRequest
    proxies: dict[str, str]
    ca_bundle: str | None


def read_environment(endpoint: str) -> Environment:
    with requests.Session() as session:
        settings = session.merge_environment_settings(endpoint, {}, None, None, None)
    # Not prepared by the session: that would look for a password in ~/.netrc.
    request = requests.Request("POST", endpoint).prepare()
    verify = settings["verify"]
    return Environment(request, dict(settings["proxies"]), verify if isinstance(verify, str) else None)
