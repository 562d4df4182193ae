"""Who may look at the pages: names and password hashes in the database, or a header from a trusted proxy.

Until the first user is added the pages are open, as on a laptop; from then on they stay closed. Must not know the
pages.
"""

from __future__ import annotations

import secrets
import time

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import HTTPConnection

from koala_middleware.collector.access.proxies import FROM_PROXY
from koala_middleware.collector.access.rate_limits import RateLimit
from koala_middleware.collector.settings import CollectorSettings
from koala_middleware.collector.store.contract import Store
from koala_middleware.collector.times import now_ms

COOKIE = "koala_collector"
MAX_AGE = 14 * 24 * 60 * 60  # seconds
REFRESH = 2.0  # seconds until a login added from the command line is noticed
ATTEMPTS = 0.2  # a second, on average, from one address
ATTEMPTS_AT_ONCE = 10
_HASH_END = 12  # characters of the password's hash in the cookie: a new password ends old sessions


class Logins:
    """Checks passwords and cookies."""

    def __init__(self, store: Store, settings: CollectorSettings) -> None:
        self._store = store
        self._off = not settings.login
        self._header = settings.login_header
        self._hasher = PasswordHasher()
        self._decoy: str | None = None
        self._attempts = RateLimit(ATTEMPTS, ATTEMPTS_AT_ONCE)
        self._checked: tuple[float, bool] = (-REFRESH, False)
        self._signer: URLSafeTimedSerializer | None = None

    def required(self) -> bool:
        """Whether pages ask for a login."""
        if self._off or self._header is not None:
            return not self._off
        checked, required = self._checked
        if time.monotonic() - checked >= REFRESH:
            with self._store.reader() as reader:
                required = reader.login_required()
            self._checked = time.monotonic(), required
        return required

    def user(self, connection: HTTPConnection) -> str | None:
        """The user's name, from a trusted proxy's header or from our cookie."""
        if self._header is not None and connection.scope.get(FROM_PROXY):
            name = connection.headers.get(self._header, "").strip()
            if name:
                return name
        session = self._session(connection)
        return session[0] if session else None

    def log_out(self, connection: HTTPConnection) -> None:
        """End the session of the request's cookie: the cookie is refused from now on, wherever it is kept."""
        session = self._session(connection)
        if session:
            self._store.end_session(session[1], now_ms(), now_ms() + MAX_AGE * 1000)

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
        if stored is None:
            return None
        return str(self._serializer().dumps([name, stored[-_HASH_END:], secrets.token_hex(8)]))

    def _session(self, connection: HTTPConnection) -> tuple[str, str] | None:
        """The user's name and the session's id, from the cookie."""
        cookie = connection.cookies.get(COOKIE)
        if not cookie:
            return None
        try:
            name, hash_end, session_id = self._serializer().loads(cookie, max_age=MAX_AGE)
        except (BadSignature, ValueError):
            return None
        with self._store.reader() as reader:
            stored = reader.password_hash(name)
            ended = reader.session_ended(session_id)
        if ended or not stored or not secrets.compare_digest(stored[-_HASH_END:], hash_end):
            return None
        return str(name), str(session_id)

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
