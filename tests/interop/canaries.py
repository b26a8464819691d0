"""Canaries: secrets of one kind in each place where a build can have one, and the search for them afterwards."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import attrs

FILE: Final = """
[master]
listen = "127.0.0.1:9989"
change_password = { secret = "changes" }

[[slave]]
name = "ex"
password = "PASSWORD"

SECRETS
[secret.variable]
environment = "VARIABLE"
[secret.word]
command = ["sed", "-n", "s/^word=//p", "words"]

[[builder]]
name = "b"
slaves = ["ex"]
env = { BUILDER = { secret = "builder" } }

[[builder.step]]
name = "variables"
shell = "echo $BUILDER; echo $VARIABLE >&2"
env = { VARIABLE = { secret = "variable" } }
[[builder.step]]
shell = ["echo", { secret = "word" }]
[[builder.step]]
name = "input"
shell = ["cat"]
initial_stdin = { secret = "input" }
[[builder.step]]
download_string = { text = { secret = "file" }, dest = "file" }
[[builder.step]]
name = "file"
shell = "cat file >&2"
[[builder.step]]
name = "pieces"
shell = '''printf "${PIECES%?????}"; sleep 0.3; printf "${PIECES#"${PIECES%?????}"}"; echo'''
env = { PIECES = { secret = "pieces" } }
[[builder.step]]
name = "log file"
shell = 'echo "$LOGFILE" > l; sleep 1'
env = { LOGFILE = { secret = "logfile" } }
logfiles = { logged = "l" }
[[builder.step]]
name = "lines"
shell = 'echo "$LINES_OF"'
env = { LINES_OF = { secret = "lines" } }
use_pty = true
[[builder.step]]
name = "quoted"
shell = ["env", "--", { secret = "quoted" }]
flunk_on_failure = false

[[builder]]
name = "plain"
slaves = ["ex"]
[[builder.step]]
name = "what another builder left"
shell = "cat ../../b/build/file >&2"
env = { OWN = "shown" }

[[builder]]
name = "unreadable"
slaves = ["ex"]
[[builder.step]]
shell = ["echo", { secret = "unreadable" }]
[secret.unreadable]
command = ["sh", "-c", "cat unreadable; cat unreadable >&2; exit 3"]
"""

IN_FILES: Final = ("builder", "input", "file", "pieces", "logfile", "lines", "quoted", "changes")
"""Secrets whose values are in files of their names."""

MASKED: Final = ("builder", "variable", "word", "input", "file", "pieces", "logfile", "lines", "quoted")
"""Secrets that programs print, so that their masks are in logs."""


@attrs.frozen
class Canaries:
    """Values, none of which may be found.

    Args:
        values: by the name of the place.
    """

    values: dict[str, str]

    @classmethod
    def hatch(cls) -> Canaries:
        """Return new ones."""
        places = (*IN_FILES, "variable", "word", "unreadable", "environment", "password")
        values = {place: f"canary-{secrets.token_hex(8)}" for place in places}
        values["lines"] = "\n".join(f"canary-{secrets.token_hex(8)}" for _ in range(3))
        values["quoted"] = f"""it's "{values["quoted"]}\\é"""
        return cls(values)

    def write(self, folder: Path) -> None:
        """Write the files that the build file names, private ones."""
        folder.mkdir(parents=True, exist_ok=True)
        texts = {place: self.values[place] for place in (*IN_FILES, "unreadable")}
        for place, text in {**texts, "words": f"word={self.values['word']}"}.items():
            (folder / place).touch(0o600)
            (folder / place).write_text(f"{text}\n")

    def text(self) -> str:
        """Return the build file."""
        sources = "\n".join(f'[secret.{place}]\nfile = "{place}"' for place in IN_FILES)
        return FILE.replace("SECRETS", sources).replace("PASSWORD", self.values["password"])

    def found_in(self, paths: Iterable[Path]) -> Sequence[str]:
        """Return where canaries are, as `PLACE in FILE`; folders are searched with all that is in them."""
        found = []
        files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
        for file in files:
            data = file.read_bytes()
            for place, value in self.values.items():
                # Each line of several; of a word with quotes, what is between them.
                if any(part.encode() in data for part in re.findall("canary-[0-9a-f]+", value)):
                    found.append(f"{place} in {file.name}")
        return found
