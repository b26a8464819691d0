"""What is to come of steps.toml: on any slave, and on those that are known to do otherwise."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeGuard

from slaveproto.testing.peers import OurBuild, SlaveKind

Peer: TypeAlias = Literal["old", "mid", "new", "ours-threads", "ours-trio", "embedded"]
REAL: Final[Sequence[Peer]] = ("old", "mid", "new")
PEERS: Final[Sequence[Peer]] = (*REAL, "ours-threads", "ours-trio", "embedded")

Facts: TypeAlias = dict[str, str]
"""All that is compared, by where it stands: ``builder/step/what`` or ``artifacts/file``."""

DATA: Final = hashlib.shake_128(b"slaveproto").digest(5 * 1024 * 1024)
"""The content of data.bin."""

BIG: Final = "".join(f"{number}\n" for number in range(1, 300001))


def is_real(peer: Peer) -> TypeGuard[SlaveKind]:
    """Whether it is a slave of Buildbot's own."""
    return peer in REAL


@dataclass(frozen=True)
class Said:
    """What a step comes to; `logs` are those beside stdio, without the empty ones."""

    result: str = "success"
    rc: int | None = 0
    stdio: str = ""
    logs: Mapping[str, str] = field(default_factory=dict)


FAILED: Final = "failure"

SAID: Final[Mapping[str, Mapping[str, Said]]] = {
    "steps": {
        "words": Said(stdio="[a b]\n[q\"uo'te]\n[$HOME `x` *]\n[]\n[-n]\n[back\\slash]\n[café ☃]\n"),
        "text": Said(stdio="the line 1\nthe line 2\nthe line 3\n"),
        "stderr": Said(stdio="to-stderr\n"),
        "no-stdout": Said(stdio="seen\n"),
        "no-stderr": Said(stdio="seen\n"),
        "exit-3": Said(FAILED, 3, "before\n"),
        "no-program": Said(FAILED, 1, "no-such-program-xyz: No such file or directory\n"),
        "signal": Said(FAILED, -1, "dying\n"),
        "workdir": Said(stdio="steps/other/dir\n"),
        "binary": Said(stdio=bytes(range(256)).decode("utf-8", "surrogateescape")),
        "big": Said(stdio=BIG),
        "env": Said(
            stdio="EMPTY=\nFOO=bär\nNESTED=lang=C.UTF-8 none=.\nPATH=/opt/first:/usr/local/bin:/usr/bin:/bin\n"
        ),
        "pythonpath": Said(stdio="/a/b:\n"),
        "pythonpath-list": Said(stdio="dir/a:/dir/b:\n"),
        "stdin": Said(stdio="first line\nsecond line, ☃\n"),
        "terminal": Said(stdio="terminal\r\n"),
        "no-terminal": Said(stdio="none\n"),
        "old-log": Said(),
        "logfiles": Said(stdio="end\n", logs={"whole": "one\ntwo\n", "followed": "first\nsecond\n"}),
        "timeout": Said(FAILED, -1, "before\n"),
        "max-time": Said(FAILED, -1, "before\n"),
        "sigterm": Said(FAILED, 5, "before\n"),
        "mkdir": Said(),
        "download-string": Said(),
        "run-it": Said(stdio="hello from a file ☃\n"),
        "download": Said(),
        "digest": Said(stdio=f"{hashlib.sha256(DATA).hexdigest()}  -\n"),
        "copy": Said(),
        "stat": Said(),
        "stat-missing": Said(FAILED, 2),
        "rmdir": Said(),
        "what-is-left": Said(
            stdio=".\n./copies\n./copies/in\n./copies/in/deep\n./copies/in/deep/er\n./copies/in/new\n"
        ),
        "upload": Said(),
        "upload-missing": Said(FAILED, 1, "Cannot open file 'steps/build/missing.bin' for upload\n"),
        "make-tree": Said(),
        "upload-dir": Said(),
        "upload-dir-gz": Said(),
        "upload-dir-bz2": Said(),
    },
    "halting": {
        "fails-but": Said(FAILED, 1),
        "warns": Said("warnings", 7),
        "fails": Said(FAILED, 1),
        "not-run": Said("skipped", None),
        "always": Said(),
    },
    "warnings": {"warns": Said(FAILED, 1)},
    "newer": {
        "files": Said(),
        "rmfile": Said(),
        "listdir": Said(),
        "glob": Said(),
        "see": Said(stdio="a.c\na.h\n"),
    },
    "no-directory": {
        "upload-dir-missing": Said(
            FAILED,
            1,
            "Cannot read directory 'no-directory/build/missing' for upload: "
            "[Errno 2] No such file or directory: 'no-directory/build/missing'\n",
        )
    },
    "strange": {
        "make-odd": Said(),
        "upload-dir-odd": Said(
            "warnings",
            0,
            "left out: 'strange/build/odd/fifo': neither file, directory nor link\n"
            "left out: 'strange/build/odd/link': a link that leads out, to '/etc/passwd'\n",
        ),
    },
}

RESULTS: Final = {
    "steps": "success",
    "halting": "failure",
    "warnings": "warnings",
    "newer": "success",
    "no-directory": "failure",
    "strange": "warnings",
}
"""The results of the builds."""

TREE: Final[Mapping[str, bytes | None]] = {
    "a name with ☃": b"\xff\x00",
    "empty": None,
    "run": b"#!/bin/sh\n",
    "sub": None,
    "sub/deeper": None,
    "sub/deeper/many": "".join(f"{number}\n" for number in range(1, 50001)).encode(),
    "sub/nothing": b"",
    "sub/one": b"one\n",
}
"""The directory that is uploaded; None is a directory."""


def _digest(data: bytes) -> str:
    return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()[:16]}"


def _expected() -> Facts:
    facts = {}
    for builder, steps in SAID.items():
        facts[f"{builder}/result"] = RESULTS[builder]
        facts[f"{builder}/steps"] = " ".join(steps)
        for name, said in steps.items():
            where = f"{builder}/{name}"
            facts |= {f"{where}/result": said.result, f"{where}/rc": str(said.rc), f"{where}/stdio": said.stdio}
            facts |= {f"{where}/{log}": text for log, text in said.logs.items()}
    facts["artifacts/data.bin"] = f"-rw-r----- {_digest(DATA)}"
    facts["artifacts/data.bin/modified"] = "1000000000"
    for form in ("none", "gz", "bz2"):
        facts[f"artifacts/tree-{form}"] = "drwxr-xr-x"
        for name, data in TREE.items():
            mode = "drwxr-xr-x" if data is None else "-rwxr-xr-x" if name == "run" else "-rw-r--r--"
            facts[f"artifacts/tree-{form}/{name}"] = mode if data is None else f"{mode} {_digest(data)}"
    facts |= {"artifacts/odd": "drwxr-xr-x", "artifacts/odd/file": f"-rw-r--r-- {_digest(b'x' + bytes([10]))}"}
    return facts


EXPECTED: Final = _expected()


@dataclass(frozen=True)
class Deviation:
    """What some peers are known to do otherwise: `place` then has a text that matches `pattern`, or none at all."""

    peers: Sequence[Peer]
    place: str
    pattern: str
    reason: str


_COPIED: Final = r"(?:'steps/build/in\S*' -> 'steps/build/copies/in\S*'\n){6}"

DEVIATIONS: Final[Sequence[Deviation]] = (
    Deviation(REAL, "strange/upload-dir-odd/stdio", "", "the own slaves send a fifo, and the master leaves it out"),
    Deviation(
        REAL,
        "steps/no-program/stdio",
        r"(?s).*Traceback.*No such file or directory.*",
        "Twisted says with a traceback that a program does not exist",
    ),
    Deviation(
        REAL,
        "steps/logfiles/followed",
        r"second\n",
        "what is appended before the first look at a followed file gets lost",
    ),
    Deviation(
        ("new",),
        "steps/binary/stdio",
        re.escape(bytes(range(128)).replace(b"\x08", b"\n").replace(b"\r", b"\n").decode() + "\ufffd" * 128 + "\n"),
        "4.3 sends text, of lines: backspace and carriage return end one, what is no UTF-8 is replaced",
    ),
    Deviation(("new",), "steps/terminal/stdio", r"terminal\n", "4.3 makes one newline of carriage return and newline"),
    Deviation(
        ("embedded",),
        "steps/env/stdio",
        r"EMPTY=\nFOO=bär\nNESTED=lang=C.UTF-8 none=.\nPATH=/opt/first:[^:\n]+:/usr/local/bin:/usr/bin:/bin\n",
        "it finds first what belongs to the Python that runs it",
    ),
    Deviation(("old",), "steps/sigterm/rc", "-1", "0.8.4 knows one signal only, KILL"),
    Deviation(("mid", "new"), "steps/copy/stdio", _COPIED, "since 0.8.14 the slave says what it copies"),
    Deviation(("old",), "steps/stat-missing/rc", "1", "0.8.4 keeps the reason to itself"),
    Deviation(
        ("old", "mid"),
        "steps/upload-missing/stdio",
        r"Cannot open file '.*' for upload",
        "until 0.8.14 that line has no end",
    ),
    Deviation(("old",), "newer/result", "exception", "two of the commands came after 0.8.4"),
    *(
        Deviation(("old",), f"newer/{step}/{what}", pattern, "the command came after 0.8.4")
        for step in ("listdir", "glob")
        for what, pattern in (("result", "exception"), ("rc", "None"))
    ),
    *(
        Deviation(
            ("old", "mid"),
            f"no-directory/{what}",
            pattern,
            "until 0.8.14 a missing directory is an exception on the way",
        )
        for what, pattern in (
            ("result", "exception"),
            ("upload-dir-missing/result", "exception"),
            ("upload-dir-missing/rc", "None"),
            ("upload-dir-missing/stdio", ""),
        )
    ),
)


def deviations(peer: Peer) -> Mapping[str, Deviation]:
    """Return the rows for one peer, by their places."""
    return {row.place: row for row in DEVIATIONS if peer in row.peers}


def mismatches(peer: Peer, facts: Facts) -> str:
    """Return where the facts are not as expected of that peer, as text for a person; "" if nowhere."""
    rows = deviations(peer)
    lines = []
    for place in sorted({*EXPECTED, *facts, *rows}):
        wanted, got, row = EXPECTED.get(place, ""), facts.get(place, ""), rows.get(place)
        if row is not None and got == wanted:
            lines.append(f"{place}: not so any more: {row.reason}")
        elif row is not None and not re.fullmatch(row.pattern, got):
            lines.append(f"{place}: {row.reason}, but not {_short(got)}")
        elif row is None and got != wanted:
            lines.append(f"{place}:\n  expected {_short(wanted, got)}\n  but got  {_short(got, wanted)}")
    return "\n".join(lines)


def _short(text: str, other: str = "") -> str:
    """Return a text for a person, from where it begins to differ from the other."""
    pairs = zip(text, other, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(text), len(other)))
    start = max(0, at - 30)
    more = f" from {start} of {len(text)}" if len(text) > 600 else ""
    return repr(text[start : start + 600] if more else text) + more


def facts_of(builds: Mapping[str, OurBuild], artifacts: Path) -> Facts:
    """Return what is compared of a run."""
    facts = {}
    for builder, build in builds.items():
        facts[f"{builder}/result"] = build.result
        facts[f"{builder}/steps"] = " ".join(step.name for step in build.steps)
        for step in build.steps:
            where = f"{builder}/{step.name}"
            facts |= {f"{where}/result": step.result, f"{where}/rc": str(step.rc), f"{where}/stdio": ""}
            facts |= {f"{where}/{log}": _without_directory(text) for log, text in step.logs.items() if text}
    for path in sorted(artifacts.rglob("*")):
        where = f"artifacts/{path.relative_to(artifacts)}"
        status = path.lstat()
        facts[where] = stat.filemode(status.st_mode)
        if path.is_file():
            facts[where] += f" {_digest(path.read_bytes())}"
    facts["artifacts/data.bin/modified"] = str(int((artifacts / "data.bin").stat().st_mtime))
    return facts


def _without_directory(text: str) -> str:
    """Take the slave's base directory out of paths."""
    if len(text) > 1000:
        return text
    return re.sub(r"/[^\s']*/(?=(?:steps|no-directory|strange)/)", "", text)
