"""Batch files for `cmd.exe` of Windows: the line that runs one command.

Source: `runprocess.py` of buildslave 0.8.14 and buildbot-worker 4.3.0; the rules by which programs of Microsoft's C
library take their command line apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# Backslashes mean themselves, but for those right before a quote.
_BEFORE_QUOTE: Final = re.compile(r'(\\*)"')
_AT_THE_END: Final = re.compile(r"(\\+)\Z")
_SPECIAL: Final = re.compile(r'[@()^"<>&|]')


def batch_line(words: Sequence[str]) -> str:
    """Return the line of a batch file that runs a program with its arguments.

    The program's own name may be that of anything that `cmd.exe` finds, or of one of its own commands. A word must not
    hold the end of a line: `cmd.exe` would end the command there.
    """
    return " ".join(_name(word) if n == 0 else _argument(word) for n, word in enumerate(words))


def _name(word: str) -> str:
    # A name has no quotes in it, and `cmd.exe` finds one with a space only between quotes that are not escaped.
    quoted = not word or " " in word or "\t" in word or _SPECIAL.search(word)
    return _percents(f'"{word}"' if quoted else word)


def _argument(word: str) -> str:
    if not word or " " in word or "\t" in word or '"' in word:
        word = '"' + _AT_THE_END.sub(r"\1\1", _BEFORE_QUOTE.sub(r'\1\1\\"', word)) + '"'
    return _percents(_SPECIAL.sub(r"^\g<0>", word))


def _percents(text: str) -> str:
    return text.replace("%", "%%")
