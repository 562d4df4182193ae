"""The visitor's address: the peer's, or the one that a trusted proxy reports."""

from __future__ import annotations

import pytest

from koala_middleware.config.validators import networks
from koala_middleware.request.client_address import visitor_address
from koala_middleware.request.head import WsgiHead

PROXIES = networks(["10.0.0.0/8", "2001:db8::/32"])


def address(peer: str, forwarded: str | None = None, *, trust: bool = True) -> str | None:
    environ = {"REMOTE_ADDR": peer} | ({"HTTP_X_FORWARDED_FOR": forwarded} if forwarded is not None else {})
    return visitor_address(WsgiHead(environ), PROXIES if trust else ())


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        pytest.param("203.0.113.9", None, "203.0.113.9", id="the peer, where nothing was forwarded"),
        pytest.param("203.0.113.9", "1.2.3.4", "203.0.113.9", id="a stranger's word counts for nothing"),
        pytest.param("10.0.0.1", "1.2.3.4", "1.2.3.4", id="a trusted proxy is believed"),
        pytest.param("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4", id="the list is read from its end"),
        pytest.param("10.0.0.1", "1.2.3.4, nonsense", None, id="a list that cannot be read names nobody"),
        pytest.param("10.0.0.1", "", None, id="an empty list names nobody"),
        pytest.param("10.0.0.1", "10.0.0.2, 10.0.0.3", None, id="a trusted proxy is never the visitor"),
        pytest.param("10.0.0.1", "203.0.113.9:51008", "203.0.113.9", id="with a port"),
        pytest.param("10.0.0.1", '"203.0.113.9:51008"', "203.0.113.9", id="in quotes"),
        pytest.param("10.0.0.1", "[2a00::7]", "2a00::7", id="IPv6 in brackets"),
        pytest.param("10.0.0.1", '"[2a00::7]:443"', "2a00::7", id="IPv6 in brackets and quotes, with a port"),
        pytest.param("10.0.0.1", "2a00::7, [2001:db8::2]:443", "2a00::7", id="a trusted proxy with a port"),
        pytest.param("10.0.0.1", "1.2.3.4, unknown", None, id="an address that a proxy hides"),
        pytest.param("::ffff:203.0.113.9", None, "203.0.113.9", id="IPv4 in IPv6 is IPv4"),
        pytest.param("2001:db8::1", "2a00::7", "2a00::7", id="IPv6"),
        pytest.param("", None, None, id="a unix socket has no address"),
        pytest.param("", "1.2.3.4", "1.2.3.4", id="behind a unix socket, the list is all there is"),
    ],
)
def test_the_address_is_the_nearest_that_is_no_trusted_proxy(
    peer: str, forwarded: str | None, expected: str | None
) -> None:
    assert address(peer, forwarded) == expected


def test_without_trusted_proxies_the_header_is_not_read() -> None:
    assert address("10.0.0.1", "1.2.3.4", trust=False) == "10.0.0.1"
