"""Proxies, tunnels and CA bundles are those that the environment names to `requests`, whichever library connects."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.listener import Listener, pump, serving

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports.answers import Answer, Verdict, advice, verdict
from koala_middleware.delivery.transports.choosing import transport_for
from koala_middleware.protocol.batches import Batch

MakeBatch = Callable[..., Batch]
Variables = pytest.MonkeyPatch
Sent = Callable[..., Answer]
PATH = "/web/projects/pk_test/batch"


def test_a_proxy_gets_the_whole_url_and_its_password(
    sent: Sent, batch: MakeBatch, environment: Variables
) -> None:
    with serving() as proxy:
        environment.setenv("HTTP_PROXY", f"http://ada:secret@127.0.0.1:{proxy.port}")
        for name in ("ada", "bo"):
            assert sent("http://collector.example/koala", batch(name, 1)).status == 200
    assert proxy.lines == ["http://collector.example/koala" + PATH] * 2
    assert [said["host"] for said in proxy.headers] == ["collector.example"] * 2
    assert [said["proxy-authorization"] for said in proxy.headers] == ["Basic YWRhOnNlY3JldA=="] * 2
    assert [body["profile_id"] for body in proxy.bodies] == ["ada", "bo"]


def test_no_proxy_excludes_the_endpoint(sent: Sent, batch: MakeBatch, environment: Variables) -> None:
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    environment.setenv("NO_PROXY", "127.0.0.1")
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
    assert endpoint.lines == [PATH]


def test_all_proxy_is_used(sent: Sent, batch: MakeBatch, environment: Variables) -> None:
    with serving() as proxy:
        environment.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert sent("http://collector.example", batch("ada", 1)).status == 200
    assert proxy.lines == ["http://collector.example" + PATH]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_holds_everything_and_is_named(
    sent: Sent, batch: MakeBatch, environment: Variables, scheme: str
) -> None:
    with serving() as proxy:
        proxy.status = 407
        environment.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{proxy.port}")
        answer = sent(f"{scheme}://collector.example", batch("ada", 1))
    assert (answer.status, verdict(answer)) == (407, Verdict.HOLD)
    assert "check HTTP_PROXY and HTTPS_PROXY" in advice(answer, "https://collector.example")


@pytest.mark.parametrize("status", [403, 502])
def test_a_proxy_that_opens_no_tunnel_is_an_outage_and_is_named(
    sent: Sent, batch: MakeBatch, environment: Variables, status: int
) -> None:
    with serving() as proxy:
        proxy.status = status
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        answer = sent("https://collector.example", batch("ada", 1))
    assert answer == Answer(None, f"the proxy opens no connection to the endpoint (HTTP {status})")


@pytest.mark.parametrize("proxy", ["http://", "http://:8080", "//", "http://[::1", "http://ada:secret@"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_setting_without_a_host_is_named_without_its_password(
    sent: Sent, batch: MakeBatch, environment: Variables, scheme: str, proxy: str
) -> None:
    environment.setenv(f"{scheme}_proxy", proxy)
    answer = sent(f"{scheme}://collector.example", batch("ada", 1))
    assert answer == Answer(
        None, "the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is not a URL with a host"
    )


@pytest.mark.parametrize("endpoint", ["http://collector.example", "https://collector.example"])
def test_a_socks_proxy_needs_pysocks(environment: Variables, batch: MakeBatch, endpoint: str) -> None:
    environment.setattr("importlib.util.find_spec", lambda _: None)
    environment.setitem(sys.modules, "socks", None)
    environment.setenv("ALL_PROXY", "socks5h://127.0.0.1:9")
    config = KoalaConfig(public_api_key="pk_test", endpoint=endpoint)
    with closing(transport_for(config)) as transport:
        answer = transport.send(batch("ada", 1), 10.0)
    assert answer.status is None
    assert answer.error.endswith("which needs PySocks: pip install 'requests[socks]'")


def test_libcurl_needs_nothing_for_a_socks_proxy(environment: Variables, batch: MakeBatch) -> None:
    with serving() as endpoint, socket.create_server(("127.0.0.1", 0)) as proxy:
        thread = threading.Thread(target=connect_by_socks, args=(proxy, endpoint.port))
        thread.start()
        environment.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.getsockname()[1]}")
        config = KoalaConfig(public_api_key="pk_test", endpoint="http://collector.example", transport="curl")
        with closing(transport_for(config)) as transport:
            assert transport.send(batch("ada", 1), 10.0).taken
        thread.join(10)
    assert endpoint.lines == [PATH]


def connect_by_socks(proxy: socket.socket, port: int) -> None:
    """A SOCKS5 proxy without a password, for one connection, which always leads to the same port."""
    connection, _ = proxy.accept()
    with connection, socket.create_connection(("127.0.0.1", port), timeout=10) as there:
        connection.recv(1024)
        connection.sendall(b"\x05\x00")
        connection.recv(1024)
        connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
        back = threading.Thread(target=pump, args=(there, connection))
        back.start()
        pump(connection, there)
        back.join(10)


@pytest.mark.parametrize("host", ["koala.invalid", "a..b", "x" * 64 + ".example"])
def test_a_host_that_cannot_be_found_is_named_as_such(sent: Sent, batch: MakeBatch, host: str) -> None:
    assert sent(f"http://{host}", batch("ada", 1)) == Answer(None, "host name not found")


def test_a_proxy_that_is_not_there_refuses_the_connection(
    sent: Sent, batch: MakeBatch, environment: Variables
) -> None:
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert sent("http://collector.example", batch("ada", 1)) == Answer(None, "connection refused")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_ca_is_trusted_where_the_environment_names_it(  # noqa: PLR0917  (fixtures)
    sent: Sent, batch: MakeBatch, environment: Variables, secure: Listener, bundle: str, variable: str
) -> None:
    environment.setenv(variable, bundle)
    assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", 1)).status == 200
    assert secure.lines == [PATH]


def test_a_missing_ca_bundle_is_named_and_not_replaced_by_another(
    sent: Sent, batch: MakeBatch, environment: Variables, secure: Listener, tmp_path: Path
) -> None:
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", 1)) == Answer(
        None, "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names a file that does not exist"
    )


def test_an_unknown_ca_is_not_trusted(sent: Sent, batch: MakeBatch, secure: Listener) -> None:
    assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", 1)) == Answer(None, "TLS failure")
    assert secure.lines == []


def test_a_tunnel_through_a_proxy_reaches_a_secure_endpoint(
    sent: Sent, batch: MakeBatch, environment: Variables, secure: Listener, bundle: str
) -> None:
    environment.setenv("REQUESTS_CA_BUNDLE", bundle)
    with serving() as proxy:
        environment.setenv("HTTPS_PROXY", f"http://ada:secret@127.0.0.1:{proxy.port}")
        for number in range(2):
            assert sent(f"https://127.0.0.1:{secure.port}", batch("ada", number)).status == 200
    assert proxy.tunnels == [f"127.0.0.1:{secure.port}"]
    assert proxy.bodies == [], "the proxy saw what was meant for the endpoint"
    assert secure.lines == [PATH] * 2
    assert not any("proxy-authorization" in said for said in secure.headers)


def test_no_password_is_read_from_netrc(
    sent: Sent, batch: MakeBatch, environment: Variables, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    with serving() as endpoint:
        assert sent(f"http://127.0.0.1:{endpoint.port}", batch("ada", 1)).status == 200
    assert "authorization" not in endpoint.headers[0]
