"""Who may look at the pages: names and password hashes in the database, or a header from a trusted proxy.

Without a login and without a header the pages are open, as on a laptop. Must not know the pages.
"""

from __future__ import annotations

import secrets
import time

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import HTTPConnection

from koala_middleware.collector.access.rate_limits import RateLimit
from koala_middleware.collector.store.contract import Store

COOKIE = "koala_collector"
MAX_AGE = 14 * 24 * 60 * 60  # seconds
REFRESH = 2.0  # seconds until a login added from the command line is noticed
ATTEMPTS = 0.2  # a second, on average, from one address
ATTEMPTS_AT_ONCE = 10
_HASH_END = 12  # characters of the password's hash in the cookie: a new password ends old sessions


class Logins:
    """Checks passwords and cookies."""

    def __init__(self, store: Store, header: str | None) -> None:
        self._store = store
        self._header = header
        self._hasher = PasswordHasher()
        self._decoy: str | None = None
        self._attempts = RateLimit(ATTEMPTS, ATTEMPTS_AT_ONCE)
        self._checked: tuple[float, bool] = (-REFRESH, False)
        self._signer: URLSafeTimedSerializer | None = None

    def required(self) -> bool:
        """Whether pages ask for a login."""
        if self._header is not None:
            return True
        checked, required = self._checked
        if time.monotonic() - checked >= REFRESH:
            with self._store.reader() as reader:
                required = reader.has_logins()
            self._checked = time.monotonic(), required
        return required

    def user(self, connection: HTTPConnection) -> str | None:
        """The user's name, from the proxy's header or from our cookie."""
        if self._header is not None and (name := connection.headers.get(self._header, "").strip()):
            return name
        cookie = connection.cookies.get(COOKIE)
        return self._name_in(cookie) if cookie else None

    def may_try(self, address: str) -> bool:
        """Whether this address may try another password now."""
        return self._attempts.allows(address)

    def cookie_for(self, name: str, password: str) -> str | None:
        """A session cookie's value for the right password, else None. Takes as long either way."""
        stored = self._hash_of(name)
        self._decoy = self._decoy or self._hasher.hash(secrets.token_hex())
        try:
            self._hasher.verify(stored or self._decoy, password)
        except (VerificationError, InvalidHashError):
            return None
        return str(self._serializer().dumps([name, stored[-_HASH_END:]])) if stored else None

    def _name_in(self, cookie: str) -> str | None:
        try:
            name, hash_end = self._serializer().loads(cookie, max_age=MAX_AGE)
        except (BadSignature, ValueError):
            return None
        stored = self._hash_of(name)
        return str(name) if stored and secrets.compare_digest(stored[-_HASH_END:], hash_end) else None

    def _hash_of(self, name: str) -> str | None:
        with self._store.reader() as reader:
            return reader.password_hash(name)

    def _serializer(self) -> URLSafeTimedSerializer:
        if self._signer is None:
            self._signer = URLSafeTimedSerializer(self._store.secret(), salt="login")
        return self._signer


def add_login(store: Store, name: str, password: str) -> None:
    """Add a login, or change its password. Works beside a running collector."""
    store.save_login(name, PasswordHasher().hash(password))
