"""Draw recorded builds into docs/ladder.md: `python docs/draw_ladder.py`, or with --check to only compare."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pages import write_or_compare

from slaveproto.limits import Limits
from slaveproto.wire.banana import NEED_DATA, Decoder, Expression

HERE: Final = Path(__file__).parent
TARGET: Final = HERE / "ladder.md"
LONGEST: Final = 60

RECORDINGS: Final = {
    "new": "buildbot-worker 4.3.0 (Python 3)",
    "old": "buildslave 0.8.4 (Python 2.7)",
}

INTRODUCTION: Final = """\
# A build as a message ladder

Written by `docs/draw_ladder.py` from builds that `docs/record_build.py` recorded: our trio master, and real,
unmodified slaves. Arrows are messages of Perspective Broker; a dotted one is the answer to a call. `decref` messages,
which only give back references, are left out; long values are cut.

What to look for: the master calls the slave before it answers its login; calls that need nothing of each other leave
together; the slave talks to the objects that it was handed (`command 1`, `reader`, `writer`); `rc` is not the end,
`complete` is; a file is closed before `complete` and put in its place after it.
"""


class Side:
    """One direction of a recording."""

    def __init__(self) -> None:
        self.decoder = Decoder(Limits(), vocabulary=True)
        self.calls: dict[Expression, str] = {}
        self.objects: dict[Expression, str] = {b"root": "root"}

    def feed(self, data: bytes) -> Iterator[Expression]:
        """Yield the expressions that are complete now."""
        self.decoder.feed(data)
        while (expression := self.decoder.next_expression()) is not NEED_DATA:
            yield expression


def ladder(lines: list[tuple[str, str]]) -> str:
    """Return the drawing of one recording."""
    sides = {"m2s": Side(), "s2m": Side()}
    out = ["```mermaid", "sequenceDiagram", "    participant M as our master", "    participant S as slave"]
    for direction, data in lines:
        sender, arrow = ("M", "M{}S") if direction == "m2s" else ("S", "S{}M")
        other = sides["s2m" if direction == "m2s" else "m2s"]
        for expression in sides[direction].feed(bytes.fromhex(data)):
            said = describe(expression, sides[direction], other, sender)
            if said is not None:
                text, dotted = said
                out.append(f"    {arrow.format('-->>' if dotted else '->>')}: {text}")
    return "\n".join([*out, "```"])


def describe(expression: Expression, ours: Side, theirs: Side, sender: str) -> tuple[str, bool] | None:
    """Return what a message says, and whether it is an answer; None for one that is left out."""
    match expression:
        case [b"message", number, target, bytes() as method, _, args, kwargs]:
            name(args, ours, method.decode())
            shown = f"{theirs.objects.get(target, '?')}.{method.decode()}({arguments(args, kwargs, ours, theirs)})"
            ours.calls[number] = method.decode()
            return shown, False
        case [b"answer", number, value]:
            method_name = theirs.calls.pop(number, "?")
            name(value, ours, f"answer to {method_name}")
            return f"{method_name}: {show(value, ours, theirs)}", True
        case [b"error", number, value]:
            return f"{theirs.calls.pop(number, '?')}: {failure(value)}", True
        case [b"decref", _]:
            return None
        case [b"version", number]:
            return f"version {number!r}", False
        case list() if sender == "M":
            return "profiles " + ", ".join(str(item, "ascii") for item in expression if isinstance(item, bytes)), False
        case bytes():
            return f"profile {expression.decode()}", False
    return None


def name(value: Expression, side: Side, where: str) -> None:
    """Give a name to each object that is handed out in a value."""
    if isinstance(value, list):
        match value:
            case [b"remote", number]:
                side.objects.setdefault(number, _NAMES.get(where, where))
            case [b"dictionary", *pairs]:
                for pair in pairs:
                    if isinstance(pair, list) and len(pair) == 2:
                        key = show(pair[0], side, side).strip("'")
                        name(pair[1], side, key if where in _OBJECT_KEYS else where)
            case [b"tuple", *items] if where == "startCommand" and len(items) == 4:
                name(items[0], side, f"command {show(items[1], side, side)}")
                name(items[3], side, "startCommand")
            case _:
                for item in value:
                    name(item, side, where)


_OBJECT_KEYS: Final = ("answer to setBuilderList", "startCommand")
_NAMES: Final = {
    "answer to login": "challenger",
    "respond": "bot",
    "answer to respond": "perspective",
    "setMaster": "master's builder",
}


def arguments(args: Expression, kwargs: Expression, ours: Side, theirs: Side) -> str:
    """Return the arguments of a call."""
    shown = []
    if isinstance(args, list):
        shown += [show(item, ours, theirs) for item in args[1:]]
    if isinstance(kwargs, list):
        shown += [
            f"{show(pair[0], ours, theirs)}={show(pair[1], ours, theirs)}"
            for pair in kwargs[1:]
            if isinstance(pair, list)
        ]
    return ", ".join(shown)


def show(value: Expression, ours: Side, theirs: Side) -> str:
    """Return a value as people read it, cut, and without what Mermaid would stumble over."""
    return clean(_show(value, ours, theirs))


def _show(value: Expression, ours: Side, theirs: Side) -> str:
    match value:
        case [b"None"]:
            return "None"
        case [b"boolean", flag]:
            return "True" if flag == b"true" else "False"
        case [b"unicode", bytes() as text]:
            return text.decode(errors="replace")
        case [b"remote", number]:
            return f"<{ours.objects.get(number, '?')}>"
        case [b"local", number]:
            return f"<{theirs.objects.get(number, '?')}>"
        case [b"dictionary", *pairs]:
            shown = [
                f"{_show(pair[0], ours, theirs)}: {_show(pair[1], ours, theirs)}"
                for pair in pairs
                if isinstance(pair, list)
            ]
            return "{" + ", ".join(shown) + "}"
        case [(b"list" | b"tuple") as kind, *items]:
            inner = ", ".join(_show(item, ours, theirs) for item in items)
            return f"[{inner}]" if kind == b"list" else f"({inner})"
        case bytes():
            printable = all(32 <= byte < 127 or byte == 10 for byte in value)
            return value.decode() if printable else f"{len(value)} bytes"
        case float():
            return f"{value:.3g}"
    return str(value)


def failure(value: Expression) -> str:
    """Return the kind of a failure."""
    match value:
        case [_, [b"dictionary", *pairs]]:
            for pair in pairs:
                match pair:
                    case [b"type" | [b"unicode", b"type"], bytes() as kind]:
                        return f"failure {kind.decode().rpartition('.')[2]}"
                    case [b"type" | [b"unicode", b"type"], [b"unicode", bytes() as kind]]:
                        return f"failure {kind.decode().rpartition('.')[2]}"
    return "failure"


def clean(text: str) -> str:
    """Return text in one line, cut, without characters that mean something to Mermaid."""
    text = " ".join(text.replace("\n", "↵").split())
    if len(text) > LONGEST:
        text = text[:LONGEST] + "…"
    return text.replace("#", "＃").replace(";", "，").replace("<", "‹").replace(">", "›")


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for kind, title in RECORDINGS.items():
        lines = [json.loads(line) for line in (HERE / "recorded" / f"{kind}.jsonl").read_text().splitlines()]
        parts.append(f"## {title}\n\n{ladder(lines)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(write_or_compare(TARGET, page(), "draw_ladder.py", sys.argv[1:]))
