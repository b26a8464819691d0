"""Pages that scripts write from what they show: written, or only compared."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def between(page: str, marks: tuple[str, str], text: str) -> str:
    """Return a page with another text between two marks."""
    before, rest = page.split(marks[0])
    return f"{before}{marks[0]}\n{text}\n{marks[1]}{rest.split(marks[1])[1]}"


def write_or_compare(target: Path, text: str, script: str, arguments: Sequence[str]) -> int:
    """Write a page, or compare it if the arguments are `--check`. Return the exit code: 1 if it is stale.

    Args:
        target: the page.
        text: its text.
        script: that was called.
        arguments: that it was called with.
    """
    if list(arguments) == ["--check"]:
        if not target.exists() or target.read_text() != text:
            print(f"{target.name} is stale: run python docs/{script}", file=sys.stderr)
            return 1
    elif arguments:
        print(f"usage: {script} [--check]", file=sys.stderr)
        return 2
    else:
        target.write_text(text)
    return 0
