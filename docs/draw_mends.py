"""Write the tables of docs/mend.md from the rows: `python docs/draw_mends.py`, or with --check to only compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pages import between, write_or_compare

from slaveproto.mend.rows import BEYOND, TABLE

TARGET = Path(__file__).parent / "mend.md"

MENDED = ("<!-- mends -->", "<!-- end of mends -->")
UNMENDED = ("<!-- beyond -->", "<!-- end of beyond -->")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as a table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def document(page: str) -> str:
    """Return the page with fresh tables."""
    mends = [(f"**{row.name}**", row.who, row.why, row.done, row.seen) for row in TABLE]
    heads = ("Mend", "Who does not bear it", "Why", "What is done", "What you see")
    page = between(page, MENDED, table(heads, mends))
    beyond = [(row.what, row.who, row.why, row.seen) for row in BEYOND]
    return between(page, UNMENDED, table(("What", "Who does not bear it", "Why", "What you see"), beyond))


if __name__ == "__main__":
    sys.exit(write_or_compare(TARGET, document(TARGET.read_text()), "draw_mends.py", sys.argv[1:]))
