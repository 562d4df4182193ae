"""What may leave the app: sampling, allowed properties, scrubbing and the site's own `before_send`.

Must not know a request or delivery.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import SystemRandom

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.payload.drafts import Call
from koala_middleware.payload.scrub.scrubber import scrub
from koala_middleware.payload.values.cleaner import plain
from koala_middleware.payload.values.sized_json import to_json
from koala_middleware.protocol.batches import Batch, batch_from_json
from koala_middleware.protocol.request_bodies import request_body

# A generator of our own: drawing from the app's would change its sequence after random.seed().
_random = SystemRandom()


class BeforeSendError(Exception):
    """`before_send` raised, or returned neither a batch nor None. The batch is kept aside, not sent."""


class OutgoingFilter:
    """Applies the settings `sample_rate`, `allow_properties`, `scrub` and `before_send`.

    Attributes:
        clean: Converts any value to JSON's types, with secrets masked if `scrub` is on.
    """

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self.clean = scrub if config.scrub else plain

    def select(self, calls: Sequence[Call]) -> Sequence[Call]:
        """The calls to send: events by their sample rate and with their allowed properties, all other calls."""
        rates, allowed = self._config.sample_rate, self._config.allow_properties
        if rates:
            calls = [
                call for call in calls if call.kind != "track" or _sampled(rates.get(call.name or "", 1))
            ]
        if allowed:
            calls = [_with_properties(call, allowed.get(call.name or "")) for call in calls]
        return calls

    def apply_before_send(self, batch: Batch) -> Batch | None:
        """The batch as `before_send` returns it; None if it holds the batch back.

        Raises:
            BeforeSendError: it raised, or returned neither a batch nor None.
        """
        if self._config.before_send is None:
            return batch
        try:
            returned = self._config.before_send(json.loads(request_body(batch)))
        except Exception as error:
            raise BeforeSendError from error
        if returned is None:
            return None
        if not isinstance(returned, dict):
            raise BeforeSendError
        return batch_from_json(returned, to_json)


def _sampled(rate: float) -> bool:
    return _random.random() < rate


def _with_properties(call: Call, names: Sequence[str] | None) -> Call:
    """The call with only these properties; unchanged if names is None."""
    if call.kind != "track" or names is None:
        return call
    return call._replace(data={name: call.data[name] for name in names if name in call.data})
