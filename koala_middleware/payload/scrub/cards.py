"""Payment card numbers: what one looks like, and where they stand in a text. Knows nothing but digits."""

from __future__ import annotations

import re

# Beginning and length by network. Luhn alone would take one id in ten of this length, and every tenth time in
# milliseconds; with the networks' ranges, times stay times and most ids stay ids.
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
_MOST_GROUPS = 7  # as people write them; more would make a long list of numbers slow to look through
_DOUBLED = {str(digit): sum(divmod(2 * digit, 10)) for digit in range(10)}

# A UUID of digits only is no card: it is met first, and left alone. Then a run of groups of digits.
_DIGITS = re.compile(
    r"(?P<uuid>\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b)"
    r"|(?<![A-Za-z0-9])[0-9]++(?:[ -][0-9]++)*+"
)
_GROUP = re.compile("[0-9]+")


def is_card_number(digits: str) -> bool:
    """Whether the digits are a payment card's: a network's range and length, and the check digit (Luhn)."""
    if _NUMBER.fullmatch(digits) is None:
        return False
    doubled = sum(_DOUBLED[digit] for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def without_cards(text: str, mask: str) -> str:
    """The text with each card number, also one in groups ("4111 1111-1111 1111"), replaced by the mask."""
    return _DIGITS.sub(lambda run: _masked_run(run, mask), text)


def _masked_run(run: re.Match[str], mask: str) -> str:
    if run["uuid"] is not None or len(run[0]) < _SHORTEST:
        return run[0]
    groups = list(_GROUP.finditer(run[0]))
    if run.string[run.end() : run.end() + 1].isalpha():
        groups.pop()  # the beginning of a word, such as a hexadecimal id
    kept: list[str] = []
    place = end = 0
    while place < len(groups):
        taken = _groups_of_card(groups, place)
        if taken:
            kept += run[0][end : groups[place].start()], mask
            end = groups[place + taken - 1].end()
        place += taken or 1
    return "".join([*kept, run[0][end:]])


def _groups_of_card(groups: list[re.Match[str]], first: int) -> int:
    """How many groups from `first` on make a card number; 0 where none do."""
    digits = ""
    for taken, group in enumerate(groups[first : first + _MOST_GROUPS], start=1):
        digits += group[0]
        if len(digits) > _LONGEST:
            return 0
        if len(digits) >= _SHORTEST and is_card_number(digits):
            return taken
    return 0
