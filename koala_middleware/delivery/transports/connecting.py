"""Chooses the library that makes HTTP connections: requests or libcurl.

Both are loaded by name, when they are needed. Must not know batches, or what an answer means.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import cast

from koala_middleware.delivery.transports.connection import Connection
from koala_middleware.log_once import LogOnce

# By the setting `transport`: a module of this package and its class, made from an endpoint's URL.
_CONNECTIONS = {
    "http": ("requests_connection", "RequestsConnection"),
    "curl": ("curl_connection", "CurlConnection"),
}
_log_once = LogOnce()


def connector(transport: str) -> Callable[[str], Connection]:
    """Returns what opens a connection to an endpoint. Loads its library, which takes 100 ms.

    Args:
        transport: "http" or "curl".
    """
    module, name = _CONNECTIONS["http" if _would_block_greenlets(transport) else transport]
    kind = getattr(import_module(f"{__package__}.{module}"), name)
    return cast("Callable[[str], Connection]", kind)


def prepare(transport: str) -> None:
    """Loads the library while the app starts, so that no request waits for it.

    Not where gevent or eventlet is about to patch sockets: what is loaded before that stays unpatched.
    """
    if not any(name in sys.modules and not patched() for name, patched in _GREENLETS.items()):
        connector(transport)


def _would_block_greenlets(transport: str) -> bool:
    """libcurl waits in C, and every greenlet of the process would wait with it."""
    if transport != "curl":
        return False
    for name, patched in _GREENLETS.items():
        if name in sys.modules and patched():
            _log_once.warning(f'transport="curl" would stop a whole {name} worker; "http" is used instead')
            return True
    return False


def _gevent_has_patched_sockets() -> bool:
    from gevent import monkey  # noqa: PLC0415  (loaded already)

    return bool(monkey.is_module_patched("socket"))


def _eventlet_has_patched_sockets() -> bool:
    from eventlet import patcher  # noqa: PLC0415  (loaded already)

    return bool(patcher.is_monkey_patched("socket"))


_GREENLETS = {"gevent": _gevent_has_patched_sockets, "eventlet": _eventlet_has_patched_sockets}
