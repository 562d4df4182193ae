"""Which property names hold secrets, judged by whole words.

`card_number` and `cardNumber` do; `discard` and `wildcard` do not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from koala_middleware.payload.values.property_names import Masking

# The words of a name, however they are joined: card_number, cardNumber, CARD-NUMBER, APIKey, cvv2.
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
# Secret only as the whole name: boarding_pass, pin_code and auth_method are harmless.
_SECRET_ALONE = frozenset({"pass", "pin", "pan", "auth", "cookie", "cookies"})
# Last words that make a name harmless: card_brand, token_count, password_changed_at.
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


@lru_cache(maxsize=4_096)  # 3 µs each; apps use the same few
def masking_for(name: str) -> Masking:
    """How to mask the value under this name. Numbers of tokens (`prompt_tokens`) are no secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT or tuple(words[-2:]) in _LAST_DIGITS:
        return None
    if len(words) == 1 and words[0] in _SECRET_ALONE:
        return "mask"
    if not _SECRET_PAIRS.isdisjoint(pairwise(words)) or not _SECRETS.isdisjoint(words):
        return "mask"
    return None if _TOKENS.isdisjoint(words) else "mask unless number"
