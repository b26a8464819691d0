"""Properties of builds: what a build is told about itself, as texts by name. Pure.

Rules.

* The names in `WORDS` are ours: every build has them, some perhaps empty. All others come from changes, from
  `slaveproto trigger` and from steps; they never replace ours.
* What a request asks for are its properties without `who` and `files`: two requests that ask for the same are answered
  by one build, which is told of the authors and files of both.
* Values are texts. Of what a change has besides, numbers, true and false count as `str` writes them, nothing as the
  empty text; what has parts does not count, for parts that are shared can be of any length when written out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from slaveproto.ci.schedule import CHANGE_KEYS
from slaveproto.master.changes import Change

OF_REQUESTS: Final = ("revision", *CHANGE_KEYS)
"""Words that a request may ask for; the empty text is the same as none."""

ABOUT: Final = ("who", "files")
"""Words that tell of a change, and do not make a build another one."""

OF_BUILDS: Final = ("buildnumber", "buildername", "slavename", "workername")
"""Words that the master says itself; the last two are the same."""

WORDS: Final = (*OF_REQUESTS, *ABOUT, *OF_BUILDS)

NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""Names of properties."""

LONGEST: Final = 16 * 1024
"""Characters of a value at most."""

LONGEST_VARIABLE: Final = 1000
"""Characters of a value that is told in a variable."""

MOST: Final = 100
"""Properties of a request at most, besides ours."""


def simple_text(value: object) -> str | None:
    """Return the text of a value; None if it has parts, or is too long. What is no Unicode is escaped."""
    if not isinstance(value, str | int | float | None):
        return None
    try:
        text = "" if value is None else str(value)
    except ValueError:
        # Python does not write out a number of thousands of digits.
        return None
    return text.encode("utf-8", "backslashreplace").decode() if len(text) <= LONGEST else None


def is_free(name: str) -> bool:
    """Whether a property of a request may have this name."""
    return NAME.fullmatch(name) is not None and name not in WORDS


def asked_by(change: Change) -> dict[str, str]:
    """Return what a change asks for."""
    ours = {name: simple_text(getattr(change, name)) for name in OF_REQUESTS}
    others = {name: simple_text(value) for name, value in change.properties.items() if is_free(name)}
    free = [(name, text) for name, text in others.items() if text is not None]
    return {name: text for name, text in ours.items() if text} | dict(free[:MOST])


def left_out(change: Change) -> list[str]:
    """Return the names of the properties of a change that no build is told of."""
    return [name for name in change.properties if name not in asked_by(change)]


def pack(properties: Mapping[str, str]) -> str:
    """Return properties as one text; equal ones have the same text, and none the empty one."""
    kept = {name: text for name, text in properties.items() if text or name not in WORDS}
    return json.dumps(kept, sort_keys=True) if kept else ""


def unpack(text: str) -> dict[str, str]:
    """Return the properties that `pack` made a text of."""
    return dict(json.loads(text)) if text else {}


def told_together(changes: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    """Return the words `ABOUT` of some changes: each author once, with commas, each file once, with spaces.

    What would be longer than `LONGEST` is empty: a part of the files could be taken for all of them.

    Args:
        changes: author and files of each.
    """
    told = list(changes)
    authors = dict.fromkeys(author for author, _ in told if author)
    files = dict.fromkeys(file for _, files in told for file in files)
    texts = {"who": ", ".join(authors), "files": " ".join(files)}
    return {name: text if len(text) <= LONGEST else "" for name, text in texts.items()}


def variables(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that tell commands of the properties of their build.

    A word is the variable `SLAVEPROTO_` and its name, any other property `SLAVEPROTO_PROP_` and its name, in capitals,
    with `_` for `-` and `.`. Left out is what is empty, longer than `LONGEST_VARIABLE`, or cannot be said: a null
    character, or a `${` that slaves would replace by something of their own.
    """
    return {
        f"SLAVEPROTO_{'' if name in WORDS else 'PROP_'}{re.sub('[-.]', '_', name).upper()}": text
        for name, text in properties.items()
        if text and len(text) <= LONGEST_VARIABLE and "\0" not in text and "${" not in text
    }


def in_words(properties: Mapping[str, str]) -> str:
    """Return what was asked of a build and what it found out itself, for people: `NAME=VALUE`, cut where it is long."""

    def parts() -> Iterator[str]:
        for name in (*OF_REQUESTS, *sorted(properties.keys() - set(WORDS))):
            text = properties.get(name, "")
            if text or name not in WORDS:
                yield f"{name}={text if len(text) <= 60 else text[:57] + '...'}"

    return " ".join(parts())
