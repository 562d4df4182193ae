"""Which library makes the connections, and when it is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pycurl
import pytest
from support.listener import serving

from koala_middleware.delivery.transports.answers import Answer
from koala_middleware.delivery.transports.connecting import prepare
from koala_middleware.errors import KoalaConfigError
from koala_middleware.protocol.batches import Batch

MakeBatch = Callable[..., Batch]
Variables = pytest.MonkeyPatch
Sent = Callable[..., Answer]


def test_a_pycurl_without_retry_after_is_refused_while_the_app_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(pycurl, "RETRY_AFTER")
    monkeypatch.delitem(sys.modules, "koala_middleware.delivery.transports.curl_connection", raising=False)
    for library in PATCHED:  # else nothing is loaded before it has patched
        monkeypatch.delitem(sys.modules, library, raising=False)
    with pytest.raises(KoalaConfigError, match=r"pip install --upgrade 'koala-middleware\[curl\]'"):
        prepare("curl")


PATCHED = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.parametrize("library", PATCHED)
def test_curl_is_not_used_where_it_would_stop_every_greenlet_and_that_is_logged_once(library: str) -> None:
    code = f"""
{PATCHED[library]}
import logging, sys; logging.basicConfig(stream=sys.stdout, format="%(message)s")
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports import choosing
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.subjects import Person
config = KoalaConfig(public_api_key="pk_test", endpoint=sys.argv[1], transport="curl")
choosing.prepare(config)
for _ in range(2):
    assert choosing.transport_for(config).send(Batch(Person("ada"), ()), 5.0).taken
assert "pycurl" not in sys.modules
"""
    with serving() as endpoint:
        command = [sys.executable, "-c", code, f"http://127.0.0.1:{endpoint.port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    [line] = done.stdout.splitlines()
    assert line.startswith(f'transport="curl" would stop a whole {library} worker; "http" is used instead')


@pytest.mark.parametrize("library", PATCHED)
def test_no_http_library_is_loaded_before_the_sockets_are_patched(library: str) -> None:
    code = f"""
import {library}, sys
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports import choosing
choosing.prepare(KoalaConfig(public_api_key="pk_test", transport="curl"))
assert not {{"pycurl", "requests"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
