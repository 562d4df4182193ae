"""What a broker carries: a batch as the body of its POST, and the key of the workspace it goes to.

Whoever else reads the queue finds the protocol's own JSON. Must not know any broker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from zlib import crc32

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.protocol.batches import Batch, batch_from_json
from koala_middleware.protocol.bodies import request_body

_NAMES = frozenset({"profile_id", "email", "domain", "account_id"})


class NotABatchError(ValueError):
    """A message that this package did not write, or that was damaged on its way."""


@dataclass(frozen=True, slots=True)
class Message:
    """Attributes: `person` decides the shard, so that one person's batches stay in order."""

    public_api_key: str
    person: str
    body: bytes

    @classmethod
    def of(cls, batch: Batch, config: KoalaConfig) -> Message:
        return cls(config.public_api_key, batch.subject.key, request_body(batch))

    def shard(self, shards: int) -> int:
        return crc32(self.person.encode("utf-8", "surrogatepass")) % shards


def batch_in(body: bytes | str) -> Batch:
    """The batch that a message's body says.

    Raises:
        NotABatchError: it says none.
    """
    try:
        said = json.loads(body)
        if not isinstance(said, dict) or not _NAMES & said.keys():
            raise NotABatchError("it names nobody")
        return batch_from_json(said)
    except (ValueError, TypeError) as error:
        raise NotABatchError(type(error).__name__) from None
