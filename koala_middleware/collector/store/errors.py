"""What a store raises while it cannot do its work. Must not know which database it is."""

from __future__ import annotations


class DatabaseUnavailable(RuntimeError):  # noqa: N818  (a state, answered with 503)
    """The database cannot be reached now. The transaction under way is undone, or is found done later."""


class TransactionConflict(RuntimeError):  # noqa: N818  (a state, as above)
    """Another collector's transaction was in the way and this one is undone. Trying once more helps."""
