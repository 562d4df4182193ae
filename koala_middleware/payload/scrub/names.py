"""Which names are a secret's.

Judges words, not letters: `card_number` and `cardNumber` are secret, `discard` and `wildcard` are not.
"""

from __future__ import annotations

import re
from itertools import pairwise

from koala_middleware.payload.values import Verdict

# The words of a name, whichever way they are joined: card_number, cardNumber, CARD-NUMBER, APIKey, cvv2.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]++|[0-9]++")

_TOKENS = frozenset({"token", "tokens"})
_SECRETS = frozenset(
    {
        *("password", "passwords", "passwd", "pwd", "passphrase", "passcode", "otp"),
        *("secret", "secrets", "credential", "credentials", "authorization", "authorisation"),
        *("bearer", "jwt", "csrf", "xsrf"),
        *("card", "cards", "cvv", "cvc", "ssn", "iban"),
        # Words run together
        *(
            "creditcard",
            "cardnumber",
            "ccnumber",
            "apikey",
            "apikeys",
            "secretkey",
            "privatekey",
            "accesskey",
        ),
        *("accesstoken", "authtoken", "refreshtoken", "csrftoken", "sessionid", "phpsessid", "jsessionid"),
    }
)
_SECRET_PAIRS = frozenset(
    {
        *(("api", "key"), ("api", "keys"), ("access", "key"), ("private", "key"), ("signing", "key")),
        *(("encryption", "key"), ("social", "security"), ("security", "code"), ("cc", "number")),
        *(("bank", "account"), ("routing", "number"), ("set", "cookie"), ("pass", "word")),
    }
)
# Too common as a part of harmless names (boarding_pass, pin_code, auth_method), but telling alone.
_SECRET_ALONE = frozenset({"pass", "pin", "pan", "auth", "cookie", "cookies"})
# What may be known of a secret: card_brand, token_count, password_changed_at.
_ABOUT = frozenset(
    {
        *(
            "count",
            "length",
            "size",
            "limit",
            "type",
            "kind",
            "brand",
            "scheme",
            "issuer",
            "network",
            "provider",
        ),
        *(
            "method",
            "status",
            "strength",
            "score",
            "policy",
            "at",
            "expires",
            "enabled",
            "required",
            "changed",
        ),
    }
)
_LAST_DIGITS = frozenset({("last", "4"), ("last", "four")})


def verdict_on(name: str) -> Verdict:
    """Whether what stands under the name is a secret; of tokens, numbers are not (`prompt_tokens`)."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT or tuple(words[-2:]) in _LAST_DIGITS:
        return None
    if len(words) == 1 and words[0] in _SECRET_ALONE:
        return "secret"
    if not _SECRET_PAIRS.isdisjoint(pairwise(words)) or not _SECRETS.isdisjoint(words):
        return "secret"
    return None if _TOKENS.isdisjoint(words) else "secret but for numbers"
