"""Who is signed in, as the app's own user object says it, and who of them was identified already.

Only where the site asks for it (`identify_user`). Knows no framework: a user is any object with an email, or
whatever the site's function makes of it. Never looks a user up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_MOST_REMEMBERED = 10_000  # people and profiles; whoever is forgotten is identified once more


class SignedIn(NamedTuple):
    """What a user object says of a person."""

    email: str
    traits: Mapping[str, Any]


class Users:
    """The people this process has identified by their session.

    Args:
        identify_user: The setting: True for the user's own `email`, or a function of the user that gives an
            email, an email and traits, or None.
    """

    def __init__(self, identify_user: Callable[[Any], Any] | bool) -> None:
        self._identify_user = identify_user
        self._identified: OrderedDict[tuple[str, str | None], None] = OrderedDict()

    def read(self, user: object) -> SignedIn | None:
        """Who this user is; None for an anonymous one. Raises whatever the site's function raises."""
        if user is None or not getattr(user, "is_authenticated", True):
            return None
        found = self._identify_user(user) if callable(self._identify_user) else getattr(user, "email", None)
        email, traits = found if isinstance(found, tuple) else (found, {})
        return SignedIn(email, traits) if email else None

    def is_first(self, email: str, profile_id: str | None) -> bool:
        """Whether this person was not yet identified under this profile, as far as is remembered."""
        key = (email.lower(), profile_id)
        first = key not in self._identified
        self._identified[key] = None
        self._identified.move_to_end(key)
        if len(self._identified) > _MOST_REMEMBERED:
            self._identified.popitem(last=False)
        return first
