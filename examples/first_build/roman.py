"""Roman numerals: the sources that `examples/first_build.toml` builds."""

from __future__ import annotations

import sys

NUMERALS = {
    "M": 1000,
    "CM": 900,
    "D": 500,
    "CD": 400,
    "C": 100,
    "XC": 90,
    "L": 50,
    "XL": 40,
    "X": 10,
    "IX": 9,
    "V": 5,
    "IV": 4,
    "I": 1,
}


def to_roman(number: int) -> str:
    """Return a number from 1 to 3999 as Rome wrote it.

    Raises:
        ValueError: it is another one.
    """
    if not 0 < number < 4000:
        raise ValueError(f"Rome had no {number}")
    text = ""
    for numeral, value in NUMERALS.items():
        count, number = divmod(number, value)
        text += numeral * count
    return text


def from_roman(text: str) -> int:
    """Return the number that a text means.

    Raises:
        ValueError: Rome would not have written it so.
    """
    number, rest = 0, text
    for numeral, value in NUMERALS.items():
        while rest.startswith(numeral):
            number, rest = number + value, rest.removeprefix(numeral)
    if rest or not number or to_roman(number) != text:
        raise ValueError(f"{text!r} is no Roman numeral")
    return number


def main() -> None:
    """Convert each argument to what it is not."""
    for word in sys.argv[1:]:
        print(to_roman(int(word)) if word.isdigit() else from_roman(word))
