"""How a request is refused. Must not know what is checked."""

from __future__ import annotations


class RequestRefused(Exception):  # noqa: N818  (an outcome of the request)
    """The request is refused.

    Attributes:
        message: Names the field, what was found and what is expected.
        code: For programs, `"bad_email"`.
        status: The HTTP status of the answer.
    """

    def __init__(self, message: str, code: str = "invalid", status: int = 400) -> None:
        super().__init__(message)
        self.message, self.code, self.status = message, code, status
