"""The message that a broker carries: a batch as the body of its POST, and the public API key.

The body is the protocol's JSON, so that other programs can read the queue. Must not know any broker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from zlib import crc32

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.protocol.batches import Batch, batch_from_json
from koala_middleware.protocol.request_bodies import request_body

_NAMES = frozenset({"profile_id", "email", "domain", "account_id"})


class NotABatchError(ValueError):
    """The message was not written by this package, or was damaged on its way."""


@dataclass(frozen=True, slots=True)
class Message:
    """Attributes: `subject_key` decides the shard, so that the batches of one person stay in order."""

    public_api_key: str
    subject_key: str
    body: bytes

    @classmethod
    def of(cls, batch: Batch, config: KoalaConfig) -> Message:
        return cls(config.public_api_key, batch.subject.key, request_body(batch))

    def shard(self, shards: int) -> int:
        return crc32(self.subject_key.encode("utf-8", "surrogatepass")) % shards


def batch_from(body: bytes | str) -> Batch:
    """Parses the body of a message.

    Raises:
        NotABatchError: it holds no batch.
    """
    try:
        content = json.loads(body)
        if not isinstance(content, dict) or not _NAMES & content.keys():
            raise NotABatchError("it names no person and no account")
        return batch_from_json(content)
    except (ValueError, TypeError) as error:
        raise NotABatchError(type(error).__name__) from None
