"""Write the tables of docs/mend.md from the rows: `python docs/draw_mends.py`, or with --check to only compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from slaveproto.mend.rows import BEYOND, TABLE

TARGET = Path(__file__).parent / "mend.md"

MENDED = ("<!-- mends -->", "<!-- end of mends -->")
UNMENDED = ("<!-- beyond -->", "<!-- end of beyond -->")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as a table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def between(page: str, marks: tuple[str, str], text: str) -> str:
    """Return the page with another text between two marks."""
    before, rest = page.split(marks[0])
    return f"{before}{marks[0]}\n{text}\n{marks[1]}{rest.split(marks[1])[1]}"


def document(page: str) -> str:
    """Return the page with fresh tables."""
    mends = [(f"**{row.name}**", row.who, row.why, row.done, row.seen) for row in TABLE]
    heads = ("Mend", "Who does not bear it", "Why", "What is done", "What you see")
    page = between(page, MENDED, table(heads, mends))
    beyond = [(row.what, row.who, row.why, row.seen) for row in BEYOND]
    return between(page, UNMENDED, table(("What", "Who does not bear it", "Why", "What you see"), beyond))


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; 1 if it is stale."""
    page = TARGET.read_text()
    text = document(page)
    if arguments == ["--check"]:
        if page != text:
            print(f"{TARGET.name} is stale: run python docs/draw_mends.py", file=sys.stderr)
            return 1
    elif arguments:
        print("usage: draw_mends.py [--check]", file=sys.stderr)
        return 2
    else:
        TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
