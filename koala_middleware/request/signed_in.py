"""The signed-in user, for the setting `identify_user`, and who a profile was last.

Must not know frameworks: a user is any object with an email, or an argument of the site's own function. Never
loads a user.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, NamedTuple

from koala_middleware.protocol.subjects import Person, Subject

_MOST_REMEMBERED = 10_000  # profiles; a forgotten one is identified once more
_REMEMBERED_FOR = 1_800.0  # seconds


class SignedInUser(NamedTuple):
    """A person as their user object describes them."""

    email: str
    traits: Mapping[str, Any]


class SignedInUsers:
    """Reads user objects, and remembers who each profile was last, so that nobody is identified with every request.

    Other processes may have seen somebody else in between, so it forgets after half an hour.

    Args:
        identify_user: The setting: True for the user's own `email`, or a function of the user that returns an
            email, an email and traits, or None.
    """

    def __init__(self, identify_user: Callable[[Any], Any] | bool) -> None:
        self._identify_user = identify_user
        # By profile id: the email in lower case, and when it was remembered.
        self._last: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def read(self, user: object) -> SignedInUser | None:
        """The person behind a user object; None for an anonymous one. Raises what the site's function raises."""
        if user is None or not getattr(user, "is_authenticated", True):
            return None
        found = self._identify_user(user) if callable(self._identify_user) else getattr(user, "email", None)
        email, traits = found if isinstance(found, tuple) else (found, {})
        return SignedInUser(email, traits) if email else None

    def is_known(self, profile_id: str | None, email: str) -> bool:
        """Whether this person was the last one identified under this profile."""
        last, at = self._last.get(profile_id or "", ("", 0.0))
        return last == email.lower() and monotonic() - at < _REMEMBERED_FOR

    def remember(self, subject: Subject) -> None:
        """An entry of this person is on its way."""
        if not isinstance(subject, Person) or subject.profile_id is None or subject.email is None:
            return
        self._last[subject.profile_id] = (subject.email.lower(), monotonic())
        self._last.move_to_end(subject.profile_id)
        while len(self._last) > _MOST_REMEMBERED:
            self._last.popitem(last=False)

    def forget(self, emails: Iterable[str]) -> None:
        """These people are erased: who signs in again is identified again."""
        erased = {email.lower() for email in emails}
        for profile_id, (email, _) in list(self._last.items()):
            if email in erased:
                self._last.pop(profile_id, None)
