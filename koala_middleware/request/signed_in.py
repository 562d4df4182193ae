"""The signed-in user, for the setting `identify_user`, and who has been identified already.

Must not know frameworks: a user is any object with an email, or an argument of the site's own function. Never
loads a user.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_MOST_REMEMBERED = 10_000  # pairs of person and profile; a forgotten one is identified once more


class SignedInUser(NamedTuple):
    """A person as their user object describes them."""

    email: str
    traits: Mapping[str, Any]


class SignedInUsers:
    """The people whom this process has identified by their session.

    Args:
        identify_user: The setting: True for the user's own `email`, or a function of the user that returns an
            email, an email and traits, or None.
    """

    def __init__(self, identify_user: Callable[[Any], Any] | bool) -> None:
        self._identify_user = identify_user
        self._identified: OrderedDict[tuple[str, str | None], None] = OrderedDict()

    def read(self, user: object) -> SignedInUser | None:
        """The person behind a user object; None for an anonymous one. Raises what the site's function raises."""
        if user is None or not getattr(user, "is_authenticated", True):
            return None
        found = self._identify_user(user) if callable(self._identify_user) else getattr(user, "email", None)
        email, traits = found if isinstance(found, tuple) else (found, {})
        return SignedInUser(email, traits) if email else None

    def is_first(self, email: str, profile_id: str | None) -> bool:
        """Whether this person was not yet identified under this profile, as far as is remembered."""
        key = (email.lower(), profile_id)
        first = key not in self._identified
        self._identified[key] = None
        self._identified.move_to_end(key)
        if len(self._identified) > _MOST_REMEMBERED:
            self._identified.popitem(last=False)
        return first
