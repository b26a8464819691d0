"""Tests of the sources that `examples/first_build.toml` builds; they run on the slave."""

# ruff: noqa: PT009, PT027
# A slave has Python, but not pytest.

from __future__ import annotations

import unittest

from roman import from_roman, to_roman


class Roman(unittest.TestCase):
    """Numbers and numerals."""

    def test_known_ones(self) -> None:
        """Well-known years."""
        for number, text in ((1, "I"), (1066, "MLXVI"), (1984, "MCMLXXXIV"), (2026, "MMXXVI"), (3999, "MMMCMXCIX")):
            with self.subTest(text):
                self.assertEqual(to_roman(number), text)
                self.assertEqual(from_roman(text), number)

    def test_there_and_back(self) -> None:
        """All there are."""
        for number in range(1, 4000):
            self.assertEqual(from_roman(to_roman(number)), number)

    def test_what_is_none(self) -> None:
        """Rome knew neither zero nor short cuts."""
        for number in (0, -1, 4000):
            self.assertRaises(ValueError, to_roman, number)
        for text in ("", "IIII", "IC", "VX", "MMXXVIx"):
            self.assertRaises(ValueError, from_roman, text)


if __name__ == "__main__":
    unittest.main()
