"""The contract of an HTTP connection to one endpoint.

Must not know batches, or what an answer means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

_SLOWEST = 32_000  # bytes a second


def time_to_travel(body: bytes | None) -> float:
    """Seconds that a large body may take on a slow line. (A socket takes it at once, so nobody sees it arrive.)"""
    return len(body or b"") / _SLOWEST


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
            timeout: Seconds that everything may take, from the first address to the last byte of the answer. A body
                gets `time_to_travel` in addition.
            max_bytes: No more than this of the answer is read.
        Returns:
            The response, or one of the words in `failures`. A proxy that wants a password is a response, too: 407.
        """
        ...

    def close(self) -> None: ...
