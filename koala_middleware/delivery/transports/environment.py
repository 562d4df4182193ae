"""Reads from the environment which proxy and which CA bundle to use, as `requests` does.

Must not know how a connection is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import requests
from requests.utils import prepend_scheme_if_needed, select_proxy
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from koala_middleware.delivery.transports import failures


class Environment(NamedTuple):
    """Attributes:
    request: Its URL is the endpoint's, encoded as it is sent.
    proxies: By scheme, as `requests` takes them; empty where NO_PROXY excludes the endpoint.
    proxy: The URL of the one that leads to the endpoint; None where none does.
    ca_bundle: A file or directory of certificates; None for the bundle that `requests` brings.
    """

    request: requests.PreparedRequest
    proxies: dict[str, str]
    proxy: str | None
    ca_bundle: str | None


def read_environment(endpoint: str) -> Environment:
    """Raises CannotConnectError where a setting of the environment cannot be used."""
    with requests.Session() as session:
        settings = session.merge_environment_settings(endpoint, {}, None, None, None)
    # Not prepared by the session: that would look for a password in ~/.netrc.
    request = requests.Request("POST", endpoint).prepare()
    proxies, verify = dict(settings["proxies"]), settings["verify"]
    ca_bundle = verify if isinstance(verify, str) else None
    if ca_bundle and endpoint.startswith("https:") and not Path(ca_bundle).exists():
        raise failures.CannotConnectError(failures.NO_CA_BUNDLE)
    return Environment(request, proxies, _checked(select_proxy(str(request.url), proxies)), ca_bundle)


def _checked(proxy: str | None) -> str | None:
    if not proxy:
        return None
    try:
        url = str(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]  # has no stub
        host = parse_url(url).host
    except (LocationParseError, ValueError, TypeError):  # TypeError: a user without a host
        host = None
    if not host:
        raise failures.CannotConnectError(failures.BAD_PROXY)
    return url
