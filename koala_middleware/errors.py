"""The few errors a user of this package can meet: when each is raised, and what to do.

Nothing here knows a framework, and no message ever repeats a secret or a visitor's data.
"""

from __future__ import annotations


class KoalaError(Exception):
    """The base of every error this package raises on purpose."""


class KoalaConfigError(KoalaError, ValueError):
    """A setting is missing or malformed. Raised once, while the app starts, never during a request.

    Attributes:
        setting: The setting's name as a keyword, `"cookie_domain"`.
        given: What it was given, as it may be shown: `"'http://example.com'"`, `"missing"`.
        expected: What the setting takes, in words.
        what_to_do: A sentence.
    """

    def __init__(self, setting: str, given: str, expected: str, *, in_environment: bool = True) -> None:
        self.setting = setting
        self.given = given
        self.expected = expected
        self.what_to_do = (
            f"Set {setting}=… where you add the middleware, or KOALA_{setting.upper()} in the framework's "
            f"settings{' or the environment' if in_environment else ''}."
        )
        super().__init__(f"{setting} is {given}, expected {expected}. {self.what_to_do}")


class KoalaNotInstalledError(KoalaError, RuntimeError):
    """`request.koala` was asked for on a request that no Koala middleware has seen.

    Add the middleware; the message holds the line for the framework in use.
    """

    def __init__(self, how: str) -> None:
        super().__init__(f"The Koala middleware must be installed to use request.koala: {how}")


class KoalaApiError(KoalaError, RuntimeError):
    """A call that waits for an answer (`qualify`, `erase`) got none in time, or one that is no success.

    Attributes:
        status: The answer's HTTP status; None when there was no answer.
        temporary: Whether the same call may do better later.
    """

    def __init__(self, message: str, *, status: int | None = None, temporary: bool = False) -> None:
        self.status = status
        self.temporary = temporary
        super().__init__(message)
