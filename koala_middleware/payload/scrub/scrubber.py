"""`scrub`: converts values as `plain` does, and replaces secrets by "[scrubbed]".

Under names such as password, cardNumber or x-api-key everything is masked but None and booleans, at any depth.
In all texts, card numbers, bearer tokens, JWTs, private keys, well-known API keys, passwords in URLs and secret
`name=value` pairs are masked, and so are whole numbers that are card numbers.
"""

from __future__ import annotations

from koala_middleware.payload.scrub.cards import is_card_number
from koala_middleware.payload.scrub.names import masking_for
from koala_middleware.payload.scrub.texts import mask_secrets
from koala_middleware.payload.values.cleaner import MASK, Cleaner
from koala_middleware.payload.values.property_names import Masking, PropertyNames

_ABOVE_CARD_NUMBERS = 10**19


class _ScrubbedNames(PropertyNames):
    def clean(self, name: str) -> str:
        return mask_secrets(super().clean(name))

    def masking(self, name: str) -> Masking:
        return masking_for(name)


def _mask_card_number(number: int) -> object:
    return MASK if number < _ABOVE_CARD_NUMBERS and is_card_number(str(number)) else number


scrub = Cleaner(_ScrubbedNames(), mask_secrets, _mask_card_number)
