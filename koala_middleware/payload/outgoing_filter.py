"""What may leave: a sample of each event, the properties it may have, no secrets, and the site's own last look.

Knows no request and no delivery.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import SystemRandom

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.payload.drafts import Call
from koala_middleware.payload.scrub import scrub
from koala_middleware.payload.values import plain, to_json
from koala_middleware.protocol.batches import Batch, encoded
from koala_middleware.protocol.bodies import request_body

# Not the app's generator, whose numbers are its own: a seeded one must not lose a step to us.
_random = SystemRandom()


class BeforeSendError(Exception):
    """The site's `before_send` raised, or returned what is no batch. The batch is kept aside, unsent."""


class Firewall:
    """The settings `sample_rate`, `allow_properties`, `scrub` and `before_send`, applied.

    Attributes:
        clean: Any value in JSON's values, secrets masked unless the site leaves that off.
    """

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self.clean = scrub if config.scrub else plain

    def passed(self, calls: Sequence[Call]) -> Sequence[Call]:
        """The calls that stay: each event by its own rate, everything else always; and each event with only the
        properties that the site allows it."""
        rates, allow = self._config.sample_rate, self._config.allow_properties
        if rates:
            calls = [call for call in calls if call.kind != "track" or _chosen(rates.get(call.name or "", 1))]
        if allow:
            calls = [_narrowed(call, allow.get(call.name or "")) for call in calls]
        return calls

    def released(self, batch: Batch) -> Batch | None:
        """What the site's `before_send` makes of the batch, as it will be sent; None where it holds it back.

        Raises:
            BeforeSendError: it raised, or returned something else than a batch or None.
        """
        if self._config.before_send is None:
            return batch
        try:
            released = self._config.before_send(json.loads(request_body(batch)))
        except Exception as error:
            raise BeforeSendError from error
        if released is None:
            return None
        if not isinstance(released, dict):
            raise BeforeSendError
        return encoded(released, to_json)


def _chosen(rate: float) -> bool:
    return _random.random() < rate


def _narrowed(call: Call, names: Sequence[str] | None) -> Call:
    if call.kind != "track" or names is None:
        return call
    return call._replace(data={name: call.data[name] for name in names if name in call.data})
