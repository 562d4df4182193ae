"""The errors that this package raises on purpose.

Must not know a framework. No message repeats a secret or a visitor's data.
"""

from __future__ import annotations


class KoalaError(Exception):
    """Base class of all errors of this package."""


class KoalaConfigError(KoalaError, ValueError):
    """A setting is missing or malformed. Raised when the app starts, never during a request.

    Attributes:
        setting: The setting's name as a keyword: `"cookie_domain"`.
        given: The value as it may be shown: `"'http://example.com'"`, `"missing"`.
        expected: What the setting takes.
        what_to_do: A sentence with the places where the setting can be given.
    """

    def __init__(self, setting: str, given: str, expected: str, *, in_environment: bool = True) -> None:
        self.setting = setting
        self.given = given
        self.expected = expected
        self.what_to_do = (
            f"Give it as {setting}=… or as KOALA_{setting.upper()} in the framework's "
            f"settings{' or the environment' if in_environment else ''}."
        )
        super().__init__(f"{setting} is {given}, expected {expected}. {self.what_to_do}")


class KoalaNotInstalledError(KoalaError, RuntimeError):
    """`request.koala` was used in a request that did not pass the Koala middleware.

    The message holds the line that adds it in the framework in use.
    """

    def __init__(self, how: str) -> None:
        super().__init__(f"The Koala middleware must be installed to use request.koala: {how}")


class KoalaApiError(KoalaError, RuntimeError):
    """`qualify` or `erase` got no answer in time, or an error.

    Attributes:
        status: The answer's HTTP status; None if there was no answer.
        temporary: Whether the same call may succeed later.
    """

    def __init__(self, message: str, *, status: int | None = None, temporary: bool = False) -> None:
        self.status = status
        self.temporary = temporary
        super().__init__(message)
