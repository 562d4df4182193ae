"""Recognizes payment card numbers, alone and within texts."""

from __future__ import annotations

import re

# Prefix and length by network, as cards are issued today. Lengths that the standards allow and nobody issues would
# match a tenth of the barcodes of four countries and of most shops' order numbers (tests/payload/test_cards.py counts).
_NUMBER = re.compile(
    "4(?:[0-9]{15}|[0-9]{18})"  # Visa; the last of 13 digits expired in the 1990s
    "|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    "|3[47][0-9]{13}"  # American Express
    "|3(?:0[0-5][0-9]|095|[689][0-9]{2})[0-9]{10}(?:[0-9]{2})?"  # Diners Club
    "|35(?:2[89]|[3-8][0-9])[0-9]{12}"  # JCB
    "|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12}"  # Discover
    "|62[0-9]{14}(?:[0-9]{3})?"  # UnionPay
    "|(?:50[0-9]{2}|5[678][0-9]{2}|6304|676[1-3])[0-9]{12}(?:[0-9]{3})?"  # Maestro
    "|6759[0-9]{12}(?:[0-9]{2,3})?"  # Maestro in the United Kingdom
    "|(?:60|81|82)[0-9]{14}"  # RuPay
    "|220[0-4][0-9]{12}"  # Mir
)
_SHORTEST, _LONGEST = 14, 19
_FIRST_GROUP = 4  # digits, in every way that networks group their numbers
_MOST_GROUPS = 7  # that a card number is written in; more would make long lists of numbers slow
_DOUBLED = {str(digit): sum(divmod(2 * digit, 10)) for digit in range(10)}

# A UUID or an IBAN, which are skipped even if they are all digits; or a run of groups of digits.
_DIGITS = re.compile(
    r"(?P<uuid>\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b)"
    r"|(?P<iban>\b[A-Z]{2}[0-9]{2}(?:[ ][0-9A-Z]{4}){3,7}(?:[ ][0-9A-Z]{1,3})?\b)"
    r"|(?<![A-Za-z0-9])[0-9]++(?:[ -][0-9]++)*+"
)
_GROUP = re.compile("[0-9]+")


def is_card_number(digits: str) -> bool:
    """Whether the digits have a network's prefix and length, and a valid check digit (Luhn)."""
    if _NUMBER.fullmatch(digits) is None:
        return False
    doubled = sum(_DOUBLED[digit] for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def mask_card_numbers(text: str, mask: str) -> str:
    """The text with each card number masked, also one in groups ("4111 1111-1111 1111")."""
    return _DIGITS.sub(lambda run: _mask_in_run(run, mask), text)


def _mask_in_run(run: re.Match[str], mask: str) -> str:
    if run["uuid"] is not None or len(run[0]) < _SHORTEST:
        return run[0]
    if run["iban"] is not None:
        start, rest = run[0][:_FIRST_GROUP], run[0][_FIRST_GROUP:]
        return run[0] if _is_iban(rest + start) else start + mask_card_numbers(rest, mask)
    groups = list(_GROUP.finditer(run[0]))
    if run.string[run.end() : run.end() + 1].isalpha():
        groups.pop()  # the start of a word, such as a hexadecimal id
    kept: list[str] = []
    place = end = 0
    while place < len(groups):
        taken = _card_groups(groups, place)
        if taken:
            kept += run[0][end : groups[place].start()], mask
            end = groups[place + taken - 1].end()
        place += taken or 1
    return "".join([*kept, run[0][end:]])


def _is_iban(rotated: str) -> bool:
    """Whether the check digits are right, for an IBAN with its first four characters at the end."""
    return int("".join(str(int(character, 36)) for character in rotated.replace(" ", ""))) % 97 == 1


def _card_groups(groups: list[re.Match[str]], first: int) -> int:
    """How many groups from `first` on form a card number, the longest one; 0 if none do."""
    if len(groups[first][0]) < _SHORTEST and len(groups[first][0]) != _FIRST_GROUP:
        return 0
    digits, longest = "", 0
    for taken, group in enumerate(groups[first : first + _MOST_GROUPS], start=1):
        digits += group[0]
        if len(digits) > _LONGEST:
            break
        if len(digits) >= _SHORTEST and is_card_number(digits):
            longest = taken
    return longest
