"""Recognizes payment card numbers, alone and within texts."""

from __future__ import annotations

import re

# Prefix and length by network. The check digit alone would match a tenth of all ids and times in milliseconds.
_NUMBER = re.compile(
    "4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    "|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    "|3[47][0-9]{13}"  # American Express
    "|3(?:0[0-5]|095|[689][0-9])[0-9]{11,16}"  # Diners Club
    "|35(?:2[89]|[3-8][0-9])[0-9]{12,15}"  # JCB
    "|6(?:011|4[4-9][0-9]|5[0-9]{2}|2[0-9]{2})[0-9]{12,15}"  # Discover, UnionPay
    "|(?:50[0-9]{2}|5[678][0-9]{2}|6304|6759|676[1-3])[0-9]{9,15}"  # Maestro
    "|(?:60|81|82)[0-9]{14}"  # RuPay
    "|220[0-4][0-9]{12,15}"  # Mir
)
_SHORTEST, _LONGEST = 13, 19
_MOST_GROUPS = 7  # that a card number is written in; more would make long lists of numbers slow
_DOUBLED = {str(digit): sum(divmod(2 * digit, 10)) for digit in range(10)}

# A UUID, which is skipped even if it is all digits; or a run of groups of digits.
_DIGITS = re.compile(
    r"(?P<uuid>\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b)"
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


def _card_groups(groups: list[re.Match[str]], first: int) -> int:
    """How many groups from `first` on form a card number; 0 if none do."""
    digits = ""
    for taken, group in enumerate(groups[first : first + _MOST_GROUPS], start=1):
        digits += group[0]
        if len(digits) > _LONGEST:
            return 0
        if len(digits) >= _SHORTEST and is_card_number(digits):
            return taken
    return 0
