"""The contract of an HTTP connection to one endpoint.

Must not know batches, or what an answer means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Response(NamedTuple):
    """The parts of an HTTP response that are used. `retry_after` is the header as it came."""

    status: int
    retry_after: str | None
    content: bytes


class Connection(Protocol):
    """A connection for one thread at a time.

    Attributes:
        reused: The latest request was sent over a connection that an earlier one had opened. If it was cut off,
            that says nothing about the endpoint, which may close an idle connection at any moment.
    """

    reused: bool

    def request(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout: float,
        *,
        body: bytes | None = None,
        max_bytes: int,
    ) -> Response | str:
        """Sends a POST, or a GET where there is no body.

        Args:
            max_bytes: No more than this of the answer is read.
        Returns:
            The response, or one of the words in `failures`.
        """
        ...

    def close(self) -> None: ...
