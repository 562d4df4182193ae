"""What is taken for a card number, counted: cards as networks issue them, beside numbers that apps really use."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from koala_middleware.payload.scrub.cards import is_card_number, mask_card_numbers

SAMPLES = 5_000
random = Random(1)


def digits(number: int) -> str:
    return "".join(random.choice("0123456789") for _ in range(number))


def with_check_digit(text: str) -> str:
    """By Luhn, as cards have it."""
    total = sum(sum(divmod(2 * int(digit), 10)) for digit in text[-1::-2]) + sum(map(int, text[-2::-2]))
    return text + str(-total % 10)


def barcode(prefix: str, length: int = 13) -> str:
    text = prefix + digits(length - 1 - len(prefix))
    total = sum(int(digit) * (1 if place % 2 else 3) for place, digit in enumerate(reversed(text)))
    return text + str(-total % 10)


def snowflake(since: float, *years: float) -> str:
    milliseconds = (random.uniform(*years) - since) * 365.25 * 86_400_000
    return str(int(milliseconds) << 22 | random.getrandbits(22))


CARDS = {
    "Visa": ("4", 16),
    "Visa, 19 digits": ("4", 19),
    "Mastercard": ("51", 16),
    "Mastercard, new range": ("2720", 16),
    "American Express": ("37", 15),
    "Diners Club": ("36", 14),
    "Diners Club, 16 digits": ("3095", 16),
    "JCB": ("3530", 16),
    "Discover": ("6011", 16),
    "UnionPay": ("62", 16),
    "UnionPay, 19 digits": ("62", 19),
    "Maestro": ("5018", 16),
    "Maestro, 18 digits": ("6759", 18),
    "RuPay": ("60", 16),
    "Mir": ("2200", 16),
}

# Of a hundred, how many may be masked.
OTHERS: dict[str, tuple[Callable[[], str], float]] = {
    "barcodes of Germany": (lambda: barcode(str(random.randrange(400, 441))), 0),
    "barcodes of Japan": (lambda: barcode(random.choice(["45", "49"])), 0),
    "barcodes of the United Kingdom": (lambda: barcode("50"), 0),
    "ISBNs": (lambda: barcode("978"), 0),
    "barcodes of cartons": (lambda: barcode(str(random.randrange(1, 9)), 14), 1),
    "shipping labels": (lambda: barcode("", 18), 0.1),
    "order ids of 13 digits": (lambda: str(random.randrange(4 * 10**12, 65 * 10**11)), 0),
    "ids of 17 digits": (lambda: "1" + digits(16), 0),
    "ids of 18 digits": (lambda: str(random.randrange(1, 10)) + digits(17), 0.1),
    "snowflakes of X": (lambda: snowflake(2010.84, 2020, 2028), 0.1),
    "snowflakes of Discord": (lambda: snowflake(2015, 2016, 2028), 0.1),
    "orders in groups": (lambda: f"{random.randrange(100, 1000)}-{digits(7)}-{digits(7)}", 0),
    "phone numbers": (lambda: f"+{random.randrange(1, 100)} {digits(4)} {digits(3)} {digits(4)}", 0),
    "times in milliseconds": (lambda: str(random.randrange(16 * 10**11, 19 * 10**11)), 0),
    "times in microseconds": (lambda: str(random.randrange(16 * 10**14, 19 * 10**14)), 0),
    "IMEIs": (lambda: with_check_digit("35" + digits(12)), 0),
    "SIM cards": (lambda: with_check_digit("89" + digits(16)), 0),
}


@pytest.mark.parametrize("network", CARDS)
def test_every_card_number_is_recognized(network: str) -> None:
    prefix, length = CARDS[network]
    for _ in range(100):
        number = with_check_digit(prefix + digits(length - 1 - len(prefix)))
        assert is_card_number(number), number
        assert mask_card_numbers(f"card: {number}.", "#") == "card: #."
        grouped = " ".join(number[at : at + 4] for at in range(0, length, 4))
        assert mask_card_numbers(grouped, "#") == "#"


@pytest.mark.parametrize("kind", OTHERS)
def test_other_numbers_are_left_alone(kind: str) -> None:
    make, percent = OTHERS[kind]
    masked = sum(mask_card_numbers(number, "#") != number for number in (make() for _ in range(SAMPLES)))
    assert masked * 100 / SAMPLES <= percent
