"""Chooses the transport that the settings name.

The transports and the libraries they need are loaded by name, so that an app pays only for the one it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.transports import connecting
from koala_middleware.delivery.transports.base import Transport

# By the setting `transport`: a module of this package and its class, made from a configuration.
_TRANSPORTS = {
    "http": ("http", "HttpTransport"),
    "curl": ("http", "HttpTransport"),
    "celery": ("celery", "CeleryTransport"),
    "kafka": ("kafka", "KafkaTransport"),
    "redis": ("redis", "RedisTransport"),
}
_HTTP = frozenset({"http", "curl"})  # the others go to a broker


def transport_for(config: KoalaConfig) -> Transport:
    """Makes a transport of the kind that the settings name."""
    module, name = _TRANSPORTS[config.transport]
    kind = getattr(import_module(f"{__package__}.{module}"), name)
    return cast("Transport", kind(config))


def prepare(config: KoalaConfig) -> None:
    """Loads what the transport needs while the app starts, so that no request waits for it."""
    module, _ = _TRANSPORTS[config.transport]
    import_module(f"{__package__}.{module}")
    if config.transport in _HTTP:
        connecting.prepare(config.transport)


def destination(config: KoalaConfig) -> str:
    """Where batches go, as it appears in the log: the endpoint, or transport and queue. Never has a password."""
    return config.endpoint if config.transport in _HTTP else f"{config.transport}:{config.queue}"
