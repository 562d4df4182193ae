"""Which proxy and which CA bundle the environment asks for, as `requests` reads it: one reading for every kind of
connection.

Must not know how a connection is made.
"""

from __future__ import annotations

from typing import NamedTuple

import requests


class Environment(NamedTuple):
    """Attributes:
    request: Its URL is the endpoint's, in the letters that go over the wire.
    proxies: By scheme, for `requests.utils.select_proxy`; none where the environment excepts the endpoint.
    authorities: A file or directory of theirs; None: those that `requests` brings.
    """

    request: requests.PreparedRequest
    proxies: dict[str, str]
    authorities: str | None


def environment(endpoint: str) -> Environment:
    with requests.Session() as session:
        asked = session.merge_environment_settings(endpoint, {}, None, None, None)
    # Not prepared by the session: that would look for a password in ~/.netrc.
    request = requests.Request("POST", endpoint).prepare()
    verify = asked["verify"]
    return Environment(request, dict(asked["proxies"]), verify if isinstance(verify, str) else None)
