"""What may leave: a sample of each event, the properties it may have, and the site's own last look.

Works on what was said, before it is encoded. Knows no request and no delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import SystemRandom
from typing import Any

from koala_middleware.config import KoalaConfig
from koala_middleware.scrub import scrub
from koala_middleware.values import plain
from koala_middleware.wire import BatchObject, Call

# Not the app's generator, whose numbers are its own: a seeded one must not lose a step to us.
_random = SystemRandom()


class BeforeSendError(Exception):
    """The site's `before_send` raised, or returned what is no batch. The batch is kept aside, unsent."""


class Firewall:
    """The settings `sample_rate`, `allow_properties`, `scrub` and `before_send`, applied."""

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._clean = scrub if config.scrub else plain

    def sampled(self, calls: Sequence[Call]) -> list[Call]:
        """The calls that stay: each event by its own rate, everything else always."""
        rates = self._config.sample_rate
        if not rates:
            return list(calls)
        return [call for call in calls if call.kind != "track" or _chosen(rates.get(call.name or "", 1))]

    def allowed(self, calls: Sequence[Call]) -> list[Call]:
        """The same calls, each event with only the properties that the site allows it."""
        allow = self._config.allow_properties
        if not allow:
            return list(calls)
        return [_narrowed(call, allow.get(call.name or "")) for call in calls]

    def cleaned(self, body: BatchObject) -> BatchObject:
        """The batch in JSON's values, secrets masked: each entry by itself, so that none can spoil another."""
        return {
            name: [self._clean(entry) for entry in value] if isinstance(value, list) else value
            for name, value in body.items()
        }

    def masked(self, value: object) -> Any:
        """One value in JSON's values, secrets masked."""
        return self._clean(value)

    def released(self, body: BatchObject) -> BatchObject | None:
        """What the site's `before_send` makes of the batch; None where it holds it back.

        Raises:
            BeforeSendError: it raised, or returned something else than a batch or None.
        """
        if self._config.before_send is None:
            return body
        try:
            released = self._config.before_send(body)
        except Exception as error:
            raise BeforeSendError from error
        if released is not None and not isinstance(released, dict):
            raise BeforeSendError
        return released


def _chosen(rate: float) -> bool:
    return _random.random() < rate


def _narrowed(call: Call, names: Sequence[str] | None) -> Call:
    if call.kind != "track" or names is None:
        return call
    return call._replace(data={name: call.data[name] for name in names if name in call.data})
