"""Writes manual pages, and completion for bash and zsh: `python examples/deploy/write_manuals.py FOLDER`.

All of it is made from the program's parsers, by argparse-manpage and shtab (extra `manuals`). FOLDER is laid out as
`/usr/share`. The same version gives the same files, but for the date of the pages; `SOURCE_DATE_EPOCH` sets it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from slaveproto import __version__
from slaveproto.cli import parser_of

COMPLETIONS = {
    "bash": "bash-completion/completions/slaveproto",
    "zsh": "zsh/site-functions/_slaveproto",
}
"""Places of the completion by shell."""


def subcommands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yield name, line of help and parser of each subcommand."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            lines = {line.dest: line.help or "" for line in action._choices_actions}
            for name, subparser in action.choices.items():
                yield name, lines[name], subparser


def page(parser: argparse.ArgumentParser, name: str, description: str) -> str:
    """Return the manual page of a parser, in troff."""
    manual = Manpage(parser, {"project_name": "slaveproto", "version": __version__, "manual_title": "slaveproto"})
    manual.prog, manual.description = name, description
    return str(manual)


def overview() -> str:
    """Return the manual page of the program, which leaves its subcommands to theirs."""
    parser = parser_of(())
    text = page(parser, "slaveproto", "slaves and masters of Buildbot's protocol")
    text = re.sub(r"^\.SH COMMAND .*?(?=^\.SH COMMENTS$)", "", text, flags=re.MULTILINE | re.DOTALL)
    others = ", ".join(f".BR slaveproto-{name} (1)".replace("-", r"\-") for name, _, _ in subcommands(parser))
    return text + ".SH SEE ALSO\n" + others.replace(", ", " ,\n") + "\n"


def completion(shell: str) -> str:
    """Return the completion for a shell; it completes paths where the program wants one."""
    parser = parser_of()
    for _, line, subparser in subcommands(parser):
        # Shells show one line beside each word.
        subparser.description = line
        for action in subparser._actions:
            wanted = str(action.metavar or "")
            if wanted.startswith("FILE"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif wanted == "BASEDIR":
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def files() -> Iterator[tuple[str, str]]:
    """Yield path and text of each file."""
    yield "man/man1/slaveproto.1", overview()
    for name, line, subparser in subcommands(parser_of()):
        yield f"man/man1/slaveproto-{name}.1", page(subparser, f"slaveproto-{name}", line)
    for shell, path in COMPLETIONS.items():
        yield path, completion(shell)


def main() -> int:
    """Write the files into the folder of the command line; exit 2 when there is none, or it cannot be written."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(f"usage: {sys.argv[0]} FOLDER", file=sys.stderr)
        return 2
    try:
        for path, text in files():
            place = Path(sys.argv[1], path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            print(place)
    except OSError as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
