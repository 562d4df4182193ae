"""What must not leave the app, whoever said it: values under secret names, and texts that look like secrets.

`scrub` is `values.plain` with all that looks like a secret replaced by "[scrubbed]". Under names such as password,
cardNumber or x-api-key everything is masked but None and booleans, at any depth. Elsewhere texts lose payment card
numbers, bearer tokens, JWTs, private keys, well-known kinds of API keys, passwords in URLs and secret `name=value`
pairs; whole numbers that are card numbers are masked.

Adds its eyes to the walk of values.py; names, texts and card numbers are known in rooms of their own.
"""

from __future__ import annotations

from koala_middleware.payload.scrub.cards import is_card_number
from koala_middleware.payload.scrub.names import verdict_on
from koala_middleware.payload.scrub.texts import masked
from koala_middleware.payload.values import MASK, Clean, Names, Verdict

__all__ = ["scrub"]

_LONGEST_CARD_NUMBER = 10**19


class _SecretNames(Names):
    """Names whose secrets are known, and in which secrets are masked as in any text."""

    def clean(self, name: str) -> str:
        return masked(super().clean(name))

    def verdict(self, name: str) -> Verdict:
        return verdict_on(name)


def _masked_number(number: int) -> object:
    return MASK if number < _LONGEST_CARD_NUMBER and is_card_number(str(number)) else number


scrub = Clean(_SecretNames(), masked, _masked_number)
