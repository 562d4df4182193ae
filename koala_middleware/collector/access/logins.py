"""Who may look: names and password hashes in the database, or a header from a trusted proxy.

As long as nobody has a login and no header is named, pages are open: that is a laptop. Must not know pages.
"""

from __future__ import annotations

import secrets
import time

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import HTTPConnection

from koala_middleware.collector.access.rate_limits import Rate
from koala_middleware.collector.store.contract import Store

LASTS = 14 * 24 * 60 * 60  # seconds
LOOK_AGAIN = 2.0  # seconds until a login added from the command line is noticed
TRIES = 0.2  # a second, on average, from one address
TRIES_AT_ONCE = 10
_PIECE = 12  # of the password's hash in the cookie: a new password ends old sessions


class Logins:
    """Checks passwords and cookies."""

    def __init__(self, store: Store, header: str | None) -> None:
        self._store = store
        self._header = header
        self._hasher = PasswordHasher()
        self._nobody: str | None = None
        self._tries = Rate(TRIES, TRIES_AT_ONCE)
        self._looked: tuple[float, bool] = (-LOOK_AGAIN, False)
        self._signer: URLSafeTimedSerializer | None = None

    def required(self) -> bool:
        """Whether pages ask who is there."""
        if self._header is not None:
            return True
        looked, required = self._looked
        if time.monotonic() - looked >= LOOK_AGAIN:
            with self._store.reader() as reader:
                required = reader.has_logins()
            self._looked = time.monotonic(), required
        return required

    def visitor(self, connection: HTTPConnection, cookie_name: str) -> str | None:
        """Who is logged in, by the proxy's header or our cookie."""
        if self._header is not None and (name := connection.headers.get(self._header, "").strip()):
            return name
        cookie = connection.cookies.get(cookie_name)
        return self._name_in(cookie) if cookie else None

    def may_try(self, address: str) -> bool:
        return self._tries.allows(address)

    def cookie_for(self, name: str, password: str) -> str | None:
        """A session cookie's value for a right password; None for a wrong one. Takes as long either way."""
        kept = self._hash_of(name)
        self._nobody = self._nobody or self._hasher.hash(secrets.token_hex())
        try:
            self._hasher.verify(kept or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return None
        return str(self._signing().dumps([name, kept[-_PIECE:]])) if kept else None

    def _name_in(self, cookie: str) -> str | None:
        try:
            name, piece = self._signing().loads(cookie, max_age=LASTS)
        except (BadSignature, ValueError):
            return None
        kept = self._hash_of(name)
        return str(name) if kept and secrets.compare_digest(kept[-_PIECE:], piece) else None

    def _hash_of(self, name: str) -> str | None:
        with self._store.reader() as reader:
            return reader.password_hash(name)

    def _signing(self) -> URLSafeTimedSerializer:
        if self._signer is None:
            self._signer = URLSafeTimedSerializer(self._store.secret(), salt="login")
        return self._signer


def add_login(store: Store, name: str, password: str) -> None:
    """Give somebody a login, or a new password. Works beside a running collector."""
    store.keep_login(name, PasswordHasher().hash(password))
